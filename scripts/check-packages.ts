import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root, run } from "./run.ts"

interface Package {
  readonly name: string
  readonly folder: string
  readonly tarball: string
  readonly files: ReadonlyArray<string>
}

const manifestOf = (folder: string) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))

/** Builds from nothing, so that no output of a deleted module is packed, and packs what would be published. */
const pack = (destination: string): ReadonlyArray<Package> => {
  const folders = globSync("packages/*", { cwd: root })
    .sort()
    .map((folder) => join(root, folder))
    .filter((folder) => manifestOf(folder).private !== true)
  for (const folder of folders) rmSync(join(folder, "dist"), { recursive: true, force: true })
  run(root, "tsc", "-b", ...folders)
  return folders.map((folder) => {
    const { name } = manifestOf(folder)
    const tarball = join(destination, `${name.replace("/", "-")}.tgz`)
    const { files } = JSON.parse(run(folder, "pnpm", "pack", "--json", "--out", tarball))
    return { name, folder, tarball, files: files.map(({ path }: { path: string }) => path) }
  })
}

const checkTarball = ({ name, tarball, files }: Package): void => {
  run(root, "publint", "run", tarball, "--strict")
  const missing = ["LICENSE", "dist/index.d.ts", "dist/index.js", "src/index.ts"].filter(
    (file) => !files.includes(file)
  )
  if (missing.length > 0) throw new Error(`${name} would be published without ${missing.join(", ")}`)
  const expected = /^(?:package\.json|README\.md|LICENSE|src\/.*\.ts|dist\/.*\.(?:js|d\.ts)(?:\.map)?)$/
  const unwanted = files.filter((file) => !expected.test(file) || /\btest\b/.test(file))
  if (unwanted.length > 0) throw new Error(`${name} would be published with ${unwanted.join(", ")}`)
}

/** Every module of a package under the name that a user would import, whether or not the package lets them. */
const modulesOf = ({ name, folder }: Package): ReadonlyArray<string> =>
  globSync("**/*.ts", { cwd: join(folder, "src") })
    .sort()
    .map((file) => (file === "index.ts" ? name : `${name}/${file.replace(/\.ts$/, "")}`))

const isPrivate = (module: string): boolean => /\/(?:internal|state)\//.test(module)

/** A program that imports everything public, and that neither compiles nor runs if something private can be imported. */
const program = (modules: ReadonlyArray<string>): string => `
${modules
  .map((module, index) =>
    isPrivate(module)
      ? `// @ts-expect-error: a private module\nimport type {} from "${module}"`
      : `import * as module${index} from "${module}"`
  )
  .join("\n")}

for (const module of ${JSON.stringify(modules.filter(isPrivate))}) {
  const refused = await import(module).then(() => false, (error) => error.code === "ERR_PACKAGE_PATH_NOT_EXPORTED")
  if (!refused) throw new Error(\`\${module} can be imported\`)
}
`

/**
 * Installs the tarballs in an empty project, compiles a program against them with every declaration checked, and runs it.
 *
 * `types` are the type packages that the project has beside.
 */
const checkProject = (
  folder: string,
  packages: ReadonlyArray<Package>,
  types: ReadonlyArray<string>
): void => {
  mkdirSync(folder)
  const write = (file: string, content: object | string) =>
    writeFileSync(
      join(folder, file),
      typeof content === "string" ? content : JSON.stringify(content, null, 2)
    )
  const { devDependencies } = manifestOf(root)
  const tarballs = Object.fromEntries(packages.map(({ name, tarball }) => [name, `file:${tarball}`]))
  write("package.json", {
    private: true,
    type: "module",
    dependencies: {
      ...tarballs,
      effect: devDependencies.effect,
      typescript: devDependencies.typescript,
      ...Object.fromEntries(types.map((name) => [`@types/${name}`, devDependencies[`@types/${name}`]]))
    }
  })
  // The packages depend on each other by a version that is not published yet.
  write("pnpm-workspace.yaml", { overrides: tarballs })
  write("tsconfig.json", {
    compilerOptions: {
      module: "NodeNext",
      target: "ES2023",
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true,
      types
    },
    files: ["program.ts"]
  })
  write("program.ts", program(packages.flatMap(modulesOf)))
  run(folder, "pnpm", "install", "--no-frozen-lockfile", "--prefer-offline", "--strict-peer-dependencies")
  run(folder, "pnpm", "exec", "tsc")
  run(folder, process.execPath, "program.ts")
}

/** What would be published is complete, well formed, usable from an empty project, and nothing more. */
export const checkPackages = (): void => {
  const folder = mkdtempSync(join(tmpdir(), "failsoft-packages-"))
  try {
    const packages = pack(folder)
    packages.forEach(checkTarball)
    // The declarations of ioredis speak of Node's buffers; the other packages must do without.
    const plain = packages.filter(({ name }) => name !== "@failsoft/redis")
    checkProject(join(folder, "plain"), plain, [])
    checkProject(join(folder, "node"), packages, ["node"])
  } finally {
    rmSync(folder, { recursive: true })
  }
}
