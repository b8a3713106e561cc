/**
 * The six services that the gateway calls, by name.
 */
import { Auth } from "./Auth.ts"
import { Billing } from "./Billing.ts"
import { Chroma } from "./Chroma.ts"
import type { Definition } from "./Definition.ts"
import { External } from "./External.ts"
import { Filesystem } from "./Filesystem.ts"
import { Git } from "./Git.ts"

/** Every stand-in upstream. */
export const upstreams: ReadonlyArray<Definition> = [Auth, Billing, Chroma, Filesystem, Git, External]
