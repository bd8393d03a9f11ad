// Who is here, and their cursors in the shared area.

const SEND_EVERY_MS = 50
const GONE_AFTER_MS = 5000
const KEY_STEP = 0.03
const SHOWN_MAX = 12
const COLOURS = ['#4338ca', '#0f766e', '#b45309', '#be123c', '#6d28d9', '#15803d', '#0369a1', '#a21caf']
const FIRST = ['Amber', 'Brisk', 'Calm', 'Clever', 'Gentle', 'Keen', 'Lucky', 'Merry', 'Quiet', 'Swift']
const SECOND = ['Heron', 'Otter', 'Seal', 'Tern', 'Puffin', 'Whale', 'Crab', 'Gull', 'Plover', 'Eider']

const byId = (id) => document.getElementById(id)
const pick = (list) => list[Math.floor(Math.random() * list.length)]
const NAME_KEY = 'tidewire-name'

function makeMe() {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('')
  let name = null
  try {
    name = sessionStorage.getItem(NAME_KEY)
  } catch {
    // Storage is switched off: a new name each time.
  }
  return { id, name: name || `${pick(FIRST)} ${pick(SECOND)}`, colour: pick(COLOURS) }
}

// What others send is shown as text only, and a colour only if it is one.
const safeColour = (colour) => (/^#[0-9a-f]{6}$/i.test(colour) ? colour : '#566070')
const safeName = (name) => String(name ?? 'Somebody').slice(0, 40) || 'Somebody'

export class People {
  constructor() {
    this.me = makeMe()
    this.others = new Map()
    this.cursors = new Map()
    this.place = { x: 0.5, y: 0.5 }
    this.sendTimer = null
    this.handlers = {
      me: this.me,
      onPeople: (state) => this.showPeople(state),
      onCursor: (cursor) => this.showCursor(cursor),
    }
    this.area = byId('area')
    this.showPeople({})
    setInterval(() => this.dropOldCursors(), 1000)
  }

  attach(connection) {
    this.connection = connection
    byId('name').value = this.me.name
    byId('name').addEventListener('change', (event) => this.rename(event.target.value.trim()))
    this.area.addEventListener('pointermove', (event) => this.pointerMoved(event))
    this.area.addEventListener('keydown', (event) => this.keyPressed(event))
  }

  rename(name) {
    if (!name) return
    this.me.name = name
    try {
      sessionStorage.setItem(NAME_KEY, name)
    } catch {
      // Not kept, that is all.
    }
    this.connection.rename()
  }

  showPeople(state) {
    this.others = new Map(
      Object.entries(state).filter(([id, metas]) => id !== this.me.id && metas.length).map(([id, metas]) => [id, metas.at(-1)]),
    )
    const entries = [[this.me.id, this.me], ...this.others]
    const rows = entries.slice(0, SHOWN_MAX).map(([id, person]) => this.makePerson(id, person))
    if (entries.length > SHOWN_MAX) rows.push(Object.assign(document.createElement('li'), { textContent: `and ${entries.length - SHOWN_MAX} more` }))
    byId('people').replaceChildren(...rows)
    for (const id of [...this.cursors.keys()]) if (id !== this.me.id && !this.others.has(id)) this.dropCursor(id)
  }

  makePerson(id, person) {
    const row = document.createElement('li')
    const name = safeName(person.name)
    const avatar = Object.assign(document.createElement('span'), { className: 'avatar', textContent: name.split(' ').map((word) => word[0]).join('').slice(0, 2) })
    avatar.style.background = safeColour(person.colour)
    avatar.setAttribute('aria-hidden', 'true')
    row.append(avatar, name)
    if (id === this.me.id) row.append(Object.assign(document.createElement('span'), { className: 'you', textContent: '(you)' }))
    return row
  }

  pointerMoved(event) {
    const box = this.area.getBoundingClientRect()
    this.dropCursor(this.me.id)
    this.moveTo((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height)
  }

  keyPressed(event) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0]
    if (!dx && !dy) return
    event.preventDefault()
    this.moveTo(this.place.x + dx * KEY_STEP, this.place.y + dy * KEY_STEP)
    this.drawCursor(this.me.id, this.me, this.place)
  }

  // At most one message per 50 ms, the last place always sent, and none when nobody else is here.
  moveTo(x, y) {
    this.place = { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)) }
    if (this.sendTimer || this.others.size === 0) return
    this.sendTimer = setTimeout(() => {
      this.sendTimer = null
      this.connection.moveCursor({ x: Number(this.place.x.toFixed(4)), y: Number(this.place.y.toFixed(4)) })
    }, SEND_EVERY_MS)
  }

  showCursor({ id, x, y }) {
    const person = this.others.get(id)
    if (!person || !(x >= 0 && x <= 1 && y >= 0 && y <= 1)) return
    this.drawCursor(id, person, { x, y })
  }

  drawCursor(id, person, { x, y }) {
    let cursor = this.cursors.get(id)
    if (!cursor) {
      cursor = { node: this.makeCursor(person) }
      this.cursors.set(id, cursor)
      this.area.append(cursor.node)
    }
    cursor.node.style.left = `${x * 100}%`
    cursor.node.style.top = `${y * 100}%`
    cursor.seenAt = Date.now()
  }

  makeCursor(person) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
    svg.setAttribute('viewBox', '0 0 16 18')
    path.setAttribute('d', 'M1 1l5 15 2.6-6.2L15 8z')
    path.setAttribute('fill', safeColour(person.colour))
    path.setAttribute('stroke', '#fff')
    svg.append(path)
    const label = Object.assign(document.createElement('span'), { textContent: safeName(person.name) })
    label.style.background = safeColour(person.colour)
    const node = Object.assign(document.createElement('div'), { className: 'cursor' })
    node.setAttribute('aria-hidden', 'true')
    node.append(svg, label)
    return node
  }

  dropOldCursors() {
    for (const [id, cursor] of [...this.cursors]) if (Date.now() - cursor.seenAt > GONE_AFTER_MS) this.dropCursor(id)
  }

  dropCursor(id) {
    this.cursors.get(id)?.node.remove()
    this.cursors.delete(id)
  }
}
