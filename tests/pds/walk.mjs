// The truth that an index is compared with: every repo of a PDS, fetched anew and read by the reference implementation.

import { AtpAgent } from '@atproto/api'
import { lexToJson } from '@atproto/lex-json'
import { MemoryBlockstore, Repo, readCarWithRoot } from '@atproto/repo'

export async function walk(pdsUrl) {
  const agent = new AtpAgent({ service: pdsUrl })
  const repos = []
  const records = []
  let cursor
  do {
    const { data: page } = await agent.com.atproto.sync.listRepos({ cursor, limit: 1000 })
    for (const { did, head, rev, active, status } of page.repos) {
      repos.push({ did, head, rev, active, status })
      if (active) records.push(...(await recordsOf(agent, did)))
    }
    cursor = page.cursor
  } while (cursor)
  return { repos, records }
}

async function recordsOf(agent, did) {
  const { data: car } = await agent.com.atproto.sync.getRepo({ did })
  const { root, blocks } = await readCarWithRoot(car)
  const repo = await Repo.load(new MemoryBlockstore(blocks), root)
  const records = []
  for await (const { collection, rkey, cid, record } of repo.walkRecords()) {
    records.push({ did, collection, rkey, cid: cid.toString(), value: lexToJson(record) })
  }
  return records
}
