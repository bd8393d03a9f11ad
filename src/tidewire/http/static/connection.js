// The two ways to the server: the stock supabase-js, and a few lines of our own without it.

const ROOM = 'live-page'
const CHANGES = { event: '*', schema: 'public' }

// Uses supabase-js just as any application does.
export function connectStock(library, url, key, handlers) {
  const client = library.createClient(url, key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    realtime: { params: {} },
  })
  const me = handlers.me
  const changes = client.channel('live-changes')
  let wasLive = false
  changes.on('postgres_changes', CHANGES, (payload) =>
    handlers.onChange({
      type: payload.eventType,
      table: payload.table,
      row: payload.new,
      old: payload.old,
      committedAt: payload.commit_timestamp,
    }),
  )
  changes.subscribe((status, error) => {
    if (status === 'SUBSCRIBED') {
      wasLive = true
      handlers.onState('live')
    } else if (status === 'CHANNEL_ERROR' && error && !isTransport(error)) {
      handlers.onState('refused', error.message)
    } else {
      handlers.onState(wasLive ? 'reconnecting' : 'connecting')
    }
  })

  const room = client.channel(ROOM, { config: { presence: { key: me.id }, broadcast: { self: false } } })
  let joined = false
  room.on('presence', { event: 'sync' }, () => handlers.onPeople(room.presenceState()))
  room.on('broadcast', { event: 'cursor' }, ({ payload }) => handlers.onCursor(payload))
  room.subscribe((status) => {
    joined = status === 'SUBSCRIBED'
    if (joined) room.track({ name: me.name, colour: me.colour })
  })
  return {
    rename: () => joined && room.track({ name: me.name, colour: me.colour }),
    moveCursor: (place) => joined && room.send({ type: 'broadcast', event: 'cursor', payload: { id: me.id, ...place } }),
  }
}

function isTransport(error) {
  return /transport|socket|heartbeat|timeout/i.test(String(error.message))
}

// Changes only, over a bare WebSocket with serializer 1.0.0; reconnects with growing pauses.
export function connectReduced(url, key, handlers, attempt = 0) {
  const address = new URL('/realtime/v1/websocket', url)
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'
  address.search = new URLSearchParams({ apikey: key, vsn: '1.0.0' })
  const socket = new WebSocket(address)
  const topic = 'realtime:live-changes'
  let ref = 0
  let heartbeat
  let live = false
  const push = (name, event, payload) => {
    ref += 1
    socket.send(JSON.stringify({ topic: name, event, payload, ref: String(ref), join_ref: '1' }))
  }
  socket.onopen = () => {
    push(topic, 'phx_join', { config: { postgres_changes: [CHANGES] }, access_token: key })
    heartbeat = setInterval(() => push('phoenix', 'heartbeat', {}), 25000)
  }
  socket.onmessage = ({ data }) => {
    const { event, payload } = JSON.parse(data)
    if (event === 'phx_reply' && payload.response?.postgres_changes) {
      live = true
      handlers.onState('live')
    } else if (event === 'phx_reply' && payload.status === 'error') {
      handlers.onState('refused', payload.response?.reason)
    } else if (event === 'postgres_changes') {
      const { type, table, record, old_record, commit_timestamp } = payload.data
      handlers.onChange({ type, table, row: record ?? {}, old: old_record ?? {}, committedAt: commit_timestamp })
    }
  }
  socket.onclose = () => {
    clearInterval(heartbeat)
    handlers.onState(live ? 'reconnecting' : 'connecting')
    const next = live ? 0 : Math.min(attempt + 1, 5)
    setTimeout(() => connectReduced(url, key, handlers, next), 500 * 2 ** next * (0.5 + Math.random() / 2))
  }
}
