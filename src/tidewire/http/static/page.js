// Puts the page together: configuration, client, view. No framework, no build step.

import { connectReduced, connectStock } from './connection.js'
import { ChangeFeed } from './feed.js'
import { People } from './people.js'

const byId = (id) => document.getElementById(id)

const STATE_WORDS = {
  connecting: 'Connecting',
  live: 'Live',
  reconnecting: 'Reconnecting',
  refused: 'Refused',
}

function showState(state, detail) {
  byId('state').dataset.state = state
  byId('state-text').textContent = detail ? `${STATE_WORDS[state]}: ${detail}` : STATE_WORDS[state]
}

function showNotice(text) {
  byId('notice').textContent = text
  byId('notice').hidden = !text
}

function loadStockClient() {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.src = '/static/vendor/supabase.js'
    script.onload = () => resolve(globalThis.supabase)
    script.onerror = () => reject(new Error('the client library did not load'))
    document.head.append(script)
  })
}

function showHint(config) {
  byId('hint').textContent = config.is_simulated
    ? 'The robots start in a moment.'
    : 'Change a row in the database and watch it arrive, or let robots edit:'
  byId('hint-command').textContent = config.is_demo
    ? 'tidewire demo --simulate'
    : 'tidewire enable YOUR_TABLE'
  byId('hint-command').hidden = config.is_simulated
  if (!config.is_demo) byId('hint').textContent = 'Enable a table, change a row in it, and watch it arrive:'
}

async function start() {
  let config
  try {
    config = await (await fetch('/config.json')).json()
  } catch {
    showState('refused', 'the server does not answer')
    setTimeout(start, 3000)
    return
  }
  byId('version').textContent = config.version
  showHint(config)
  const url = config.url || location.origin
  const feed = new ChangeFeed(config.tables)
  const handlers = { onState: showState, onChange: (change) => feed.add(change) }
  let library = null
  if (config.has_client) library = await loadStockClient().catch(() => null)
  if (library) {
    const people = new People()
    people.attach(connectStock(library, url, config.anon_key, { ...handlers, ...people.handlers }))
  } else {
    byId('people-panel').hidden = true
    byId('cursors-panel').hidden = true
    byId('client').textContent = 'a bare WebSocket on this page'
    showNotice('supabase-js is not installed here, so this page shows changes only. Run scripts/install where npm can be reached to see presence and cursors too.')
    connectReduced(url, config.anon_key, handlers)
  }
}

start()
