// An account moves to another PDS: the steps of its owner's client, in the order of the official guide, without blobs and preferences.

import { AtpAgent } from '@atproto/api'

/**
 * Moves an account from `from` ({ agent, pds }) to the PDS `to`, up to its activation there; the old PDS is not told. A did:web account has
 * its document rewritten by `publish`; without it, the PLC directory is written to. Answers its agent on the new PDS.
 */
export async function migrate({ did, from, to, password, publish }) {
  const { data: session } = await from.agent.com.atproto.server.getSession()
  const agent = new AtpAgent({ service: to.url })
  const { data: description } = await agent.com.atproto.server.describeServer()
  const { data: proof } = await from.agent.com.atproto.server.getServiceAuth({
    aud: description.did,
    lxm: 'com.atproto.server.createAccount',
  })
  await agent.createAccount(
    { did, handle: session.handle, email: session.email, password },
    { headers: { authorization: `Bearer ${proof.token}` } },
  )
  // The DID document still names the old PDS, which the agent would turn to.
  agent.sessionManager.pdsUrl = new URL(to.url)

  const { data: car } = await from.agent.com.atproto.sync.getRepo({ did })
  await agent.com.atproto.repo.importRepo(car, { encoding: 'application/vnd.ipld.car' })

  const { data: credentials } = await agent.com.atproto.identity.getRecommendedDidCredentials()
  if (publish) {
    publish(credentials.verificationMethods.atproto, to.url)
  } else {
    const token = await from.pds.plcOperationToken(did)
    const { data: signed } = await from.agent.com.atproto.identity.signPlcOperation({ token, ...credentials })
    await agent.com.atproto.identity.submitPlcOperation({ operation: signed.operation })
  }
  await agent.com.atproto.server.activateAccount()
  return agent
}
