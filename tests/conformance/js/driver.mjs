// Drives unmodified supabase-js clients as told: one JSON command a line on standard input, one
// JSON line on standard output for each answer ({id, ok, result | error}) and each event.
// Binary payloads travel as {"$binary": "<base64>"}.

import { createInterface } from 'node:readline'
import { createClient } from '@supabase/supabase-js'

const clients = new Map()
const channels = new Map()

// A full pipe must not stop the program from reading: lines are queued by Node itself.
const write = (line) => process.stdout.write(JSON.stringify(line, packBinary) + '\n')

function packBinary(_name, value) {
  if (value instanceof ArrayBuffer) return { $binary: Buffer.from(value).toString('base64') }
  if (value instanceof Error) return { message: value.message }
  return value
}

function unpackBinary(_name, value) {
  if (value === null || typeof value !== 'object' || typeof value.$binary !== 'string') return value
  const bytes = Buffer.from(value.$binary, 'base64')
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
}

const channelOf = ({ channel }) => {
  const found = channels.get(channel)
  if (!found) throw new Error(`no channel ${channel}`)
  return found
}
const clientOf = ({ client }) => {
  const found = clients.get(client)
  if (!found) throw new Error(`no client ${client}`)
  return found
}

const commands = {
  createClient({ client, url, key, realtime, accessToken }) {
    const heartbeatCallback = (status) => write({ client, kind: 'heartbeat', status })
    const options = {
      auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
      realtime: { ...realtime, heartbeatCallback },
    }
    if (accessToken !== undefined) options.accessToken = async () => accessToken
    clients.set(client, createClient(url, key, options))
  },

  createChannel({ client, channel, topic, config }) {
    channels.set(channel, clientOf({ client }).channel(topic, config ? { config } : undefined))
  },

  listen({ channel, type, filter, listener }) {
    channelOf({ channel }).on(type, filter, (payload) => {
      const state = type === 'presence' ? channelOf({ channel }).presenceState() : undefined
      write({ channel, kind: type, listener, payload, state })
    })
  },

  subscribe({ channel }) {
    channelOf({ channel }).subscribe((status, error) => {
      write({ channel, kind: 'status', status, error: error ? String(error.message ?? error) : null })
    })
  },

  send: ({ channel, message }) => channelOf({ channel }).send(message),
  httpSend: ({ channel, event, payload, options }) =>
    channelOf({ channel }).httpSend(event, payload, options ?? {}),
  track: ({ channel, payload }) => channelOf({ channel }).track(payload),
  untrack: ({ channel }) => channelOf({ channel }).untrack(),
  presenceState: ({ channel }) => channelOf({ channel }).presenceState(),
  unsubscribe: ({ channel }) => channelOf({ channel }).unsubscribe(),
  channelState: ({ channel }) => channelOf({ channel }).state,
  setAuth: ({ client, token }) => clientOf({ client }).realtime.setAuth(token),
  connectionState: ({ client }) => clientOf({ client }).realtime.connectionState(),
  disconnect: ({ client, code, reason }) => clientOf({ client }).realtime.disconnect(code, reason),
  removeChannel: ({ client, channel }) => clientOf({ client }).removeChannel(channelOf({ channel })),

  async forget({ client, channels: names }) {
    const found = clients.get(client)
    for (const name of names) channels.delete(name)
    clients.delete(client)
    if (found) await found.removeAllChannels()
    found?.realtime.disconnect()
  },
}

async function run(line) {
  const command = JSON.parse(line, unpackBinary)
  try {
    const result = await commands[command.do](command)
    write({ id: command.id, ok: true, result: result ?? null })
  } catch (error) {
    write({ id: command.id, ok: false, error: String(error?.message ?? error) })
  }
}

process.on('unhandledRejection', (error) => write({ kind: 'unhandled', error: String(error?.stack ?? error) }))
process.on('uncaughtException', (error) => write({ kind: 'unhandled', error: String(error?.stack ?? error) }))
createInterface({ input: process.stdin }).on('line', run).on('close', () => process.exit(0))
write({ kind: 'ready', node: process.versions.node })
