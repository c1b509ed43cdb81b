// A did:web hold: an account on a real PDS whose DID document is served here, on a loopback port of its own.
// It takes the way of an account that brings its DID along: proof by a key of its own, a deactivated account,
// the document rewritten to name the PDS and the key that the PDS made, activation.

import { createServer } from 'node:http'
import { AtpAgent } from '@atproto/api'
import { Secp256k1Keypair } from '@atproto/crypto'
import { createServiceJwt } from '@atproto/xrpc-server'
import { LOOPBACK } from './pds.mjs'

export async function createDidWebHold(pds, account) {
  const documents = await DidDocumentServer.start()
  const did = documents.did

  const ownKey = await Secp256k1Keypair.create()
  documents.publish({ handle: account.handle, signingKey: ownKey.did(), pdsUrl: pds.url })
  const proof = await createServiceJwt({
    iss: did,
    aud: pds.serviceDid,
    lxm: 'com.atproto.server.createAccount',
    keypair: ownKey,
  })
  const agent = new AtpAgent({ service: pds.url })
  await agent.createAccount({ ...account, did }, { headers: { authorization: `Bearer ${proof}` } })

  /** Names another PDS, and the key that it signs with. */
  const publish = (signingKey, pdsUrl) => documents.publish({ handle: account.handle, signingKey, pdsUrl })
  const { data: recommended } = await agent.com.atproto.identity.getRecommendedDidCredentials()
  publish(recommended.verificationMethods.atproto, pds.url)
  await agent.com.atproto.server.activateAccount()
  return { did, agent, publish }
}

class DidDocumentServer {
  #document = null

  static async start() {
    const documents = new DidDocumentServer()
    const server = createServer((request, response) => {
      if (request.url !== '/.well-known/did.json') {
        response.writeHead(404).end()
        return
      }
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(documents.#document))
    })
    await new Promise((resolve) => server.listen(0, LOOPBACK, resolve))
    documents.did = `did:web:localhost%3A${server.address().port}`
    return documents
  }

  publish({ handle, signingKey, pdsUrl }) {
    this.#document = {
      '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1'],
      id: this.did,
      alsoKnownAs: [`at://${handle}`],
      verificationMethod: [
        {
          id: `${this.did}#atproto`,
          type: 'Multikey',
          controller: this.did,
          publicKeyMultibase: signingKey.slice('did:key:'.length),
        },
      ],
      service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pdsUrl }],
    }
  }
}
