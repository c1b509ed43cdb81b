// One @atproto/pds, started and stopped within this process, with everything that it keeps under one directory.
// It listens on 127.0.0.1 only and names itself http://localhost:PORT. A restart keeps port, data and secrets.

import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import path from 'node:path'
import { Secp256k1Keypair } from '@atproto/crypto'
import * as today from '@atproto/pds'

export const LOOPBACK = '127.0.0.1'

/** The PDS of today, and the one of ../pds_legacy, loaded when it is asked for. */
export const IMPLEMENTATIONS = {
  today: () => today,
  legacy: () => createRequire(new URL('../pds_legacy/package.json', import.meta.url))('@atproto/pds'),
}

export class LoopbackPds {
  #implementation
  #env
  #running = null

  constructor(implementation, env) {
    this.#implementation = implementation
    this.#env = env
  }

  /** Makes the directories and secrets of a new PDS and starts it on a port that is free now. */
  static async start(implementation, directory, plcUrl) {
    const port = await freePort()
    const blobs = path.join(directory, 'blobs')
    await mkdir(blobs, { recursive: true })
    const pds = new LoopbackPds(implementation, {
      port,
      hostname: 'localhost',
      serviceDid: `did:web:localhost%3A${port}`,
      devMode: true,
      dataDirectory: directory,
      blobstoreDiskLocation: blobs,
      blobstoreDiskTmpLocation: path.join(directory, 'blobs-incoming'),
      didPlcUrl: plcUrl,
      inviteRequired: false,
      serviceHandleDomains: ['.test'],
      jwtSecret: randomSecret(),
      dpopSecret: randomSecret(),
      adminPassword: randomSecret(),
      plcRotationKeyK256PrivateKeyHex: randomSecret(),
    })
    await pds.start()
    return pds
  }

  get url() {
    return `http://localhost:${this.#env.port}`
  }

  get serviceDid() {
    return this.#env.serviceDid
  }

  get adminHeaders() {
    const credentials = Buffer.from(`admin:${this.#env.adminPassword}`).toString('base64')
    return { authorization: `Basic ${credentials}` }
  }

  /** Gives an account another signing key, as an operator would: the key file, then the script that publishes it. */
  async rotateKey(did) {
    const { ctx } = this.#running
    const { keyLocation } = await ctx.actorStore.getLocation(did)
    const key = await Secp256k1Keypair.create({ exportable: true })
    await writeFile(keyLocation, await key.export())
    await this.#implementation.scripts['rotate-keys'](ctx, [did])
  }

  /** What the PDS would have sent by mail, to confirm that the owner of an account wants its identity changed. */
  async plcOperationToken(did) {
    return this.#running.ctx.accountManager.createEmailToken(did, 'plc_operation')
  }

  async start() {
    const { PDS, envToCfg, envToSecrets } = this.#implementation
    const pds = await PDS.create(envToCfg(this.#env), envToSecrets(this.#env))
    const listenAnywhere = pds.app.listen
    pds.app.listen = (port) => listenAnywhere(port, LOOPBACK)
    await pds.start()
    this.#running = pds
  }

  async stop() {
    await this.#running?.destroy()
    this.#running = null
  }
}

async function freePort() {
  const server = createServer()
  await new Promise((resolve) => server.listen(0, LOOPBACK, resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

function randomSecret() {
  return randomBytes(32).toString('hex')
}
