// Takes every address out of package-lock.json: names, versions and hashes say all that an installation needs.
// Run by `npm run lock`, after package.json was changed.

import { readFile, writeFile } from 'node:fs/promises'

const lock = JSON.parse(await readFile('package-lock.json', 'utf8'))
for (const entry of Object.values(lock.packages)) {
  delete entry.resolved
  delete entry.funding
}
await writeFile('package-lock.json', JSON.stringify(lock, null, 2) + '\n')
