// The list of changes: bounded, newest first, drawn once per animation frame.

const SHOWN_MAX = 150
const WAITING_MAX = 300
const LATENCIES_MAX = 101
const ANNOUNCE_EVERY_MS = 5000
const SIGNS = { INSERT: '+', UPDATE: '~', DELETE: '−' }
// Fields that name a row for people, best first, and fields that say nothing new.
const NAMING = ['name', 'title', 'body', 'email', 'id']
const DULL = new Set(['updated_at', 'updated_by', 'created_at'])

const byId = (id) => document.getElementById(id)

function element(tag, className, ...children) {
  const made = document.createElement(tag)
  if (className) made.className = className
  made.append(...children)
  return made
}

function shorten(value) {
  const text = typeof value === 'string' ? value : JSON.stringify(value ?? null)
  return text.length > 60 ? `${text.slice(0, 59)}…` : text
}

export function changedFields(change) {
  if (change.type !== 'UPDATE') return []
  const before = change.old ?? {}
  return Object.keys(change.row).filter(
    (name) => !DULL.has(name) && name in before && JSON.stringify(before[name]) !== JSON.stringify(change.row[name]),
  )
}

// A whole old row has more than its key; with the key alone nobody can say what changed.
const isWhole = (old) => Object.keys(old ?? {}).length > 2

export function rowTitle(change) {
  const row = change.type === 'DELETE' ? change.old : change.row
  const name = NAMING.find((field) => row?.[field] !== undefined && row[field] !== null)
  if (name) return shorten(row[name])
  return Object.entries(row ?? {}).slice(0, 2).map(([field, value]) => `${field} ${shorten(value)}`).join(', ') || 'a row'
}

export class ChangeFeed {
  constructor(tables) {
    this.waiting = []
    this.latencies = []
    this.moments = []
    this.count = 0
    this.dropped = 0
    this.paused = false
    this.filter = ''
    this.drawing = false
    this.unannounced = 0
    this.tables = new Set()
    this.list = byId('changes')
    for (const table of tables) this.offerTable(table)
    byId('table').addEventListener('change', (event) => this.setFilter(event.target.value))
    byId('pause').addEventListener('click', () => this.togglePause())
    setInterval(() => this.announce(), ANNOUNCE_EVERY_MS)
    setInterval(() => this.showRate(), 1000)
  }

  add(change) {
    const now = Date.now()
    change.arrivedAt = now
    change.latencyMs = Math.max(0, now - Date.parse(change.committedAt))
    this.count += 1
    this.unannounced += 1
    this.latest = change
    this.moments.push(now)
    this.latencies.push(change.latencyMs)
    if (this.latencies.length > LATENCIES_MAX) this.latencies.shift()
    this.offerTable(change.table)
    this.waiting.push(change)
    if (this.waiting.length > WAITING_MAX) this.waiting.shift()
    this.draw()
  }

  offerTable(table) {
    if (this.tables.has(table)) return
    this.tables.add(table)
    byId('table').append(new Option(table, table))
  }

  setFilter(table) {
    this.filter = table
    for (const row of this.list.children) row.hidden = Boolean(table) && row.dataset.table !== table
  }

  togglePause() {
    this.paused = !this.paused
    byId('pause').setAttribute('aria-pressed', String(this.paused))
    byId('pause').textContent = this.paused ? 'Paused' : 'Pause'
    this.draw()
  }

  draw() {
    if (this.drawing) return
    this.drawing = true
    // A hidden tab has no animation frames; a timer keeps the list from growing stale.
    const later = document.hidden ? (run) => setTimeout(run, 250) : requestAnimationFrame
    later(() => {
      this.drawing = false
      this.showFigures()
      if (this.paused || this.waiting.length === 0) return
      byId('empty').hidden = true
      const rows = this.waiting.slice(-SHOWN_MAX).map((change) => this.makeRow(change))
      this.waiting.length = 0
      this.list.prepend(...rows.reverse())
      while (this.list.children.length > SHOWN_MAX) this.list.lastElementChild.remove()
    })
  }

  makeRow(change) {
    const row = element('li', 'change fresh')
    row.dataset.table = change.table
    row.hidden = Boolean(this.filter) && change.table !== this.filter
    row.append(
      element('span', `kind ${change.type}`, `${SIGNS[change.type] ?? ''} ${change.type}`),
      element('span', 'what', element('b', '', rowTitle(change)), ' ', element('span', 'where', `in ${change.table}`)),
      element('span', 'when', element('b', '', `${change.latencyMs} ms`), ` · ${new Date(change.arrivedAt).toLocaleTimeString()}`),
    )
    const fields = changedFields(change)
    if (fields.length) row.append(this.makeFields(change, fields))
    else if (change.type === 'UPDATE' && isWhole(change.old)) row.append(element('span', 'fields', 'saved again, with the same values'))
    return row
  }

  makeFields(change, fields) {
    const line = element('span', 'fields')
    fields.slice(0, 4).forEach((name, index) => {
      if (index) line.append(' · ')
      line.append(element('code', '', name), ' ', element('s', '', shorten(change.old[name])), ' → ', element('code', '', shorten(change.row[name])))
    })
    return line
  }

  showFigures() {
    const sorted = [...this.latencies].sort((a, b) => a - b)
    byId('latency').textContent = sorted.length ? `${sorted[sorted.length >> 1]} ms` : '–'
    byId('count').textContent = this.count.toLocaleString()
  }

  showRate() {
    const since = Date.now() - 60000
    while (this.moments.length && this.moments[0] < since) this.moments.shift()
    byId('rate').textContent = this.moments.length.toLocaleString()
  }

  // One sentence per five seconds, so that a screen reader is not flooded.
  announce() {
    if (!this.unannounced || this.paused) return
    const many = this.unannounced === 1 ? '1 change' : `${this.unannounced} changes`
    byId('announce').textContent = `${many}, latest: ${this.latest.type} ${rowTitle(this.latest)} in ${this.latest.table}`
    this.unannounced = 0
  }
}
