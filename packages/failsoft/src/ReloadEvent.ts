/** What a table of policies tells when it is reloaded. Part of `PolicyEvent`, which has the type under its own name. */

/** `policy` goes on under another row of its table. The stages are named as in its description, each in one of the lists. */
export interface PolicyReloaded {
  readonly _tag: "PolicyReloaded"
  readonly policy: string
  readonly atMillis: number
  readonly added: ReadonlyArray<string>
  readonly removed: ReadonlyArray<string>
  readonly changed: ReadonlyArray<string>
}

/** The line of the log. */
export const describe = (
  event: PolicyReloaded
): { message: string; annotations: Record<string, unknown> } => {
  const { added, changed, removed } = event
  const parts = Object.entries({ added, removed, changed }).filter(([, stages]) => stages.length > 0)
  return {
    message: `${event.policy}: reloaded, ${parts.map(([what, stages]) => `${what} ${stages.join(" and ")}`).join(", ")}`,
    annotations: Object.fromEntries(parts)
  }
}
