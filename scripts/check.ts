/** What `pnpm check` runs. `pnpm check lint types` runs those steps alone. */
import { checkChangesets } from "./check-changesets.ts"
import { checkPackages } from "./check-packages.ts"
import { root, run } from "./run.ts"

const steps: Record<string, () => void> = {
  types: () => {
    run(root, "node", "test/docExamples.ts")
    run(root, "tsc", "-b")
  },
  lint: () => run(root, "biome", "check", "--error-on-warnings", "."),
  tidy: () => run(root, "vitest", "run", "test/tidy.test.ts"),
  changesets: checkChangesets,
  packages: checkPackages
}

const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(steps)

for (const name of chosen) {
  const started = performance.now()
  try {
    const step = steps[name]
    if (step === undefined)
      throw new Error(`There is no such step; there are ${Object.keys(steps).join(", ")}.`)
    step()
    console.log(`✓ ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`)
  } catch (error) {
    console.error(`✗ ${name}\n${error instanceof Error ? error.message : error}`)
    process.exit(1)
  }
}
