// Makes a component of a JavaScript or TypeScript plugin. Run by hookmill-guest-build, from the
// project's own build folder, so that its own packages are found:
//
//   node PROJECT/.hookmill/build/build.mjs PROJECT SOURCE OUT
//
// Says on one line of stderr what is wrong with the plugin; exit code 2 then.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { componentize } from "@bytecodealliance/componentize-js";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const [project, source, out] = process.argv.slice(2).map((path) => resolve(path));

function refuse(message) {
  console.error(`error: ${message}`);
  process.exit(2);
}

/** The interface's modules, while the plugin is only looked at: nothing of them is called. */
const absent = {
  name: "absent",
  setup(context) {
    context.onResolve({ filter: /^hookmill:/ }, ({ path }) => ({ path, namespace: "absent" }));
    context.onLoad({ filter: /.*/, namespace: "absent" }, () => ({
      contents: "export const write = () => {};",
    }));
  },
};

async function bundle(contents, outfile, options) {
  try {
    await build({
      stdin: { contents, resolveDir: project, sourcefile: "entry.js" },
      outfile,
      bundle: true,
      format: "esm",
      platform: "neutral",
      mainFields: ["module", "main"],
      conditions: ["import", "browser"],
      target: "es2023",
      keepNames: false,
      logLevel: "error",
      absWorkingDir: project,
      ...options,
    });
  } catch {
    // esbuild has said what and where.
    refuse("the plugin does not compile; esbuild's errors are above");
  }
}

const packaged = JSON.parse(await readFile(join(project, "package.json"), "utf8"));
const defaults = {
  name: packaged.name ?? "",
  version: packaged.version ?? "0.1.0",
  summary: packaged.description ?? "",
};
await mkdir(here, { recursive: true });

// Looked at by node first: a mistake is told in a second instead of half a minute later.
const look = join(here, "look.mjs");
await bundle(`export { default } from ${JSON.stringify(source)};`, look, { plugins: [absent] });
let plugin;
try {
  plugin = (await import(pathToFileURL(look).href)).default;
} catch (error) {
  refuse(`the plugin cannot be loaded: ${error?.stack ?? error}`);
}
if (plugin?.kind !== "filter" && plugin?.kind !== "transform") {
  refuse(`${source} exports no plugin: expected \`export default filter({…})\` or \`transform({…})\``);
}

const entry = join(here, "plugin.js");
await bundle(
  `import "hookmill/setup";
   import { guest } from "hookmill/guest";
   import plugin from ${JSON.stringify(source)};
   const made = guest(plugin, ${JSON.stringify(defaults)});
   export const ${plugin.kind} = made.${plugin.kind};
   export const describe = made.describe;`,
  entry,
  { external: ["hookmill:*"] },
);

const sdk = dirname(createRequire(join(project, "package.json")).resolve("hookmill/package.json"));
try {
  const { component } = await componentize({
    sourcePath: entry,
    witPath: join(sdk, "wit"),
    worldName: plugin.kind,
    disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
  });
  await writeFile(out, component);
} catch (error) {
  refuse(`no component can be made of it: ${error?.message ?? error}`);
}
