// A network of real servers on loopback: an in-memory PLC directory and as many PDSes as asked for.
//
//   node network.mjs DIRECTORY          DIRECTORY is emptied; the servers' data and logs go there and stay for reading
//
// The first line on stdout is {"ready":{"plcUrl":..}}. Then each line on stdin is a command, {"id":1,"cmd":"startPds",..},
// and its answer on stdout is {"id":1,"ok":{..}} or {"id":1,"error":".."}, as they finish. The end of stdin ends it all.

import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'

const directory = path.resolve(process.argv[2])
await rm(directory, { recursive: true, force: true })
await mkdir(directory, { recursive: true })

// stdout belongs to the answers. The servers read the settings of their logs at import: hence the imports below.
console.log = console.info = console.error
process.env.LOG_ENABLED = 'true'
process.env.LOG_DESTINATION = path.join(directory, 'servers.log')

const { AtpAgent } = await import('@atproto/api')
const { XRPCInvalidResponseError } = await import('@atproto/xrpc')
const { Database, PlcServer } = (await import('@did-plc/server')).default
const { IMPLEMENTATIONS, LOOPBACK, LoopbackPds } = await import('./pds.mjs')
const { createDidWebHold } = await import('./hold.mjs')
const { migrate } = await import('./migration.mjs')
const { walk } = await import('./walk.mjs')

const PASSWORD = 'a password for loopback'

const pdsByName = new Map()
/** did -> { pds, homes, publish }: where it lives, an agent for each PDS that it lived on, and how to write its did:web document */
const accounts = new Map()

const commands = {
  /** `version`: today or legacy */
  async startPds({ version }) {
    const name = `pds${pdsByName.size + 1}`
    pdsByName.set(name, null)
    const pds = await LoopbackPds.start(IMPLEMENTATIONS[version](), path.join(directory, name), plcUrl)
    pdsByName.set(name, pds)
    return { name, url: pds.url }
  },
  async stopPds({ pds }) {
    await pdsNamed(pds).stop()
  },
  /** Again on its port, with its data. */
  async restartPds({ pds }) {
    await pdsNamed(pds).stop()
    await pdsNamed(pds).start()
  },

  async createAccount({ pds, handle }) {
    const agent = new AtpAgent({ service: pdsNamed(pds).url })
    const { data } = await agent.createAccount(credentials(handle))
    accounts.set(data.did, { pds: pdsNamed(pds), homes: new Map([[pdsNamed(pds), agent]]) })
    return { did: data.did }
  },
  async createDidWebHold({ pds, handle }) {
    const { did, agent, publish } = await createDidWebHold(pdsNamed(pds), credentials(handle))
    accounts.set(did, { pds: pdsNamed(pds), homes: new Map([[pdsNamed(pds), agent]]), publish })
    return { did }
  },
  /** Moves an account to another PDS and makes it active there; on the old one it stays as it was. */
  async migrate({ did, to }) {
    const account = accounts.get(did)
    const { agent, pds } = home({ did })
    const moved = await migrate({ did, from: { agent, pds }, to: pdsNamed(to), password: PASSWORD, publish: account.publish })
    account.pds = pdsNamed(to)
    account.homes.set(account.pds, moved)
  },
  async rotateKey({ did }) {
    await home({ did }).pds.rotateKey(did)
  },

  // What follows is done on the PDS where the account lives, or on the one that is named.

  async createRecord({ did, pds, collection, rkey, record }) {
    const { data } = await home({ did, pds }).agent.com.atproto.repo.createRecord({ repo: did, collection, rkey, record })
    return data
  },
  async putRecord({ did, pds, collection, rkey, record }) {
    const { data } = await home({ did, pds }).agent.com.atproto.repo.putRecord({ repo: did, collection, rkey, record })
    return data
  },
  async deleteRecord({ did, pds, collection, rkey }) {
    await home({ did, pds }).agent.com.atproto.repo.deleteRecord({ repo: did, collection, rkey })
  },
  async applyWrites({ did, pds, writes }) {
    await home({ did, pds }).agent.com.atproto.repo.applyWrites({ repo: did, writes })
  },

  async deactivate({ did, pds }) {
    await home({ did, pds }).agent.com.atproto.server.deactivateAccount({})
  },
  async activate({ did, pds }) {
    await home({ did, pds }).agent.com.atproto.server.activateAccount()
  },
  async takedown({ did, pds }) {
    await setTakedown({ did, pds }, { applied: true, ref: 'test' })
  },
  async untakedown({ did, pds }) {
    await setTakedown({ did, pds }, { applied: false })
  },
  async deleteAccount({ did, pds }) {
    await asAdmin({ did, pds }, (agent, options) => agent.com.atproto.admin.deleteAccount({ did }, options))
  },
  async updateHandle({ did, pds, handle }) {
    await home({ did, pds }).agent.com.atproto.identity.updateHandle({ handle })
  },

  /** A fresh look at everything that a PDS holds: {repos:[{did,head,rev,active,status?}], records:[{did,collection,rkey,cid,value}]}. */
  async walk({ pds }) {
    return walk(pdsNamed(pds).url)
  },

  /** What a URL gives to a plain GET. */
  async get({ url }) {
    const response = await fetch(url)
    return { status: response.status, text: await response.text() }
  },

  /**
   * Any method of any service through the official client, which checks each answer against its lexicon.
   * {body} for a success, {status, error, message} for an error answer; an answer that breaks its lexicon fails the command.
   */
  async xrpc({ service, method, params, input }) {
    try {
      const { data } = await new AtpAgent({ service }).call(method, params, input)
      return { body: data }
    } catch (error) {
      if (error instanceof XRPCInvalidResponseError) {
        throw new Error(`${method} breaks its lexicon: ${error.validationError.message}`)
      }
      return { status: error.status, error: error.error, message: error.message }
    }
  },
}

function pdsNamed(name) {
  const pds = pdsByName.get(name)
  if (!pds) throw new Error(`no PDS is called ${name}`)
  return pds
}

/** Where the account lives, or the PDS that is named, with its agent there. */
function home({ did, pds }) {
  const account = accounts.get(did)
  if (!account) throw new Error(`no account has the DID ${did}`)
  const home = pds ? pdsNamed(pds) : account.pds
  const agent = account.homes.get(home)
  if (!agent) throw new Error(`${did} never lived on ${pds}`)
  return { agent, pds: home }
}

function credentials(handle) {
  return { handle, email: `${handle.split('.')[0]}@example.com`, password: PASSWORD }
}

async function setTakedown(account, takedown) {
  const subject = { $type: 'com.atproto.admin.defs#repoRef', did: account.did }
  await asAdmin(account, (agent, options) => agent.com.atproto.admin.updateSubjectStatus({ subject, takedown }, options))
}

async function asAdmin(account, act) {
  const { pds } = home(account)
  const agent = new AtpAgent({ service: pds.url })
  return act(agent, { headers: pds.adminHeaders, encoding: 'application/json' })
}

async function startPlc() {
  const { app } = PlcServer.create({ db: Database.mock() })
  const server = await new Promise((resolve) => {
    const listening = app.listen(0, LOOPBACK, () => resolve(listening))
  })
  // By name: the PDS resolves no identity from a bare address.
  return `http://localhost:${server.address().port}`
}

function say(line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

async function answer(line) {
  const { id, cmd, ...parameters } = JSON.parse(line)
  try {
    if (!Object.hasOwn(commands, cmd)) throw new Error('there is no such command')
    say({ id, ok: (await commands[cmd](parameters)) ?? {} })
  } catch (error) {
    say({ id, error: `${cmd}: ${error.message}` })
  }
}

const plcUrl = await startPlc()
// What a server throws in the background is its own trouble: it must not take the others with it.
process.on('uncaughtException', (error) => console.error('uncaught', error))
process.on('unhandledRejection', (error) => console.error('unhandled', error))
say({ ready: { plcUrl } })
const input = createInterface({ input: process.stdin })
input.on('line', answer)
input.on('close', () => process.exit(0))
