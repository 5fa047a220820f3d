/** Imported first of all by the builder's entry, for what it does to the globals. */

import { install as installConsole } from "./console.ts";
import { install as installWorld } from "./world.ts";

installWorld();
installConsole();
