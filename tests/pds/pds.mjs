// One @atproto/pds, started and stopped within this process, with everything that it keeps under one directory.
// It listens on 127.0.0.1 only and names itself http://localhost:PORT. A restart keeps port, data and secrets.

import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import path from 'node:path'
import { PDS, envToCfg, envToSecrets } from '@atproto/pds'

export const LOOPBACK = '127.0.0.1'

export class LoopbackPds {
  #env
  #running = null

  constructor(env) {
    this.#env = env
  }

  /** Makes the directories and secrets of a new PDS and starts it on a port that is free now. */
  static async start(directory, plcUrl) {
    const port = await freePort()
    const blobs = path.join(directory, 'blobs')
    await mkdir(blobs, { recursive: true })
    const pds = new LoopbackPds({
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

  async start() {
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
