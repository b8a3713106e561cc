import { existsSync } from "node:fs"
import { dirname, join } from "node:path"
import { fences } from "../docExamples.ts"
import { root } from "./sources.ts"

/** A text file of the repository. */
export interface Page {
  readonly file: string
  readonly text: string
}

/** Fences that no test runs though they hold code, or that do not say what they hold. */
export const untestedFences = ({ file, text }: Page): ReadonlyArray<string> =>
  fences(file, text)
    .filter(
      ({ info }) =>
        /^(?:$|tsx?\b|typescript\b|jsx?\b|javascript\b)/.test(info) && info !== "ts import.meta.vitest"
    )
    .map(({ line, info }) => `${file}:${line}: \`\`\`${info}`)

/** Links to files that do not exist. */
export const brokenLinks = ({ file, text }: Page): ReadonlyArray<string> => {
  const prose = text.replace(/^```.*?^```$/gms, "").replace(/`[^`\n]*`/g, "")
  return [...prose.matchAll(/\]\(([^)\s#]+)|^\[[^\]]+\]: ([^\s#]+)/gm)]
    .map(([, inline, reference]) => inline ?? reference ?? "")
    .filter((link) => !/^[a-z]+:/.test(link) && !existsSync(join(root, dirname(file), link)))
    .map((link) => `${file} links to ${link}`)
}

/** Paths of one machine and hosts of one network, which mean nothing to a reader. */
export const localNames = ({ file, text }: Page): ReadonlyArray<string> => {
  const path = /(?<![\w.~-])\/(?:home|root|Users|work)\/[\w.-]+/
  const host = /https?:\/\/registry\.\S+|^(?:@\w+:)?registry=\S+|\btarball: http\S+/
  return [...text.matchAll(new RegExp(`${path.source}|${host.source}`, "gm"))].map(
    ([name]) => `${file}: ${name}`
  )
}

/** Tests that do not run, keep others from running, or may fail and pass all the same. */
export const evasions = ({ file, text }: Page): ReadonlyArray<string> =>
  [...text.matchAll(/\.(?:skip|only|todo)\b|\bretry: \d|\bflakyTest\b/g)].map(([name]) => `${file}: ${name}`)
