import { accessSync, constants } from "node:fs"
import { delimiter, join } from "node:path"
import process from "node:process"

/** The servers that will do, the preferred one first. */
export const binaries = ["redis-server", "valkey-server"]

const isExecutable = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The first of the servers that the PATH leads to. */
export const findBinary = (): string | undefined => {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "")
  return binaries.flatMap((binary) => folders.map((folder) => join(folder, binary))).find(isExecutable)
}

/** The one command that installs a server here. */
export const installCommand = (): string => {
  if (process.platform === "darwin") return "brew install redis"
  const install = "apt-get update && apt-get install --yes redis-server"
  return process.getuid?.() === 0 ? install : `sudo sh -c '${install}'`
}

/** What to tell a person when there is none. */
export const missing = (): string =>
  `Neither ${binaries.join(" nor ")} is on the PATH. Install one with: ${installCommand()}`
