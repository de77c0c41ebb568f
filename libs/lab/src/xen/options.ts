import { Command } from 'commander';
import { whole } from '../demo/options.js';

export interface XenLabOptions {
  /** How long the guests work before each look at them. */
  readonly seconds: number;
  readonly json: boolean;
}

/** Throws CommanderError for wrong arguments and for --help, after writing what to say. */
export function parseXenLabOptions(args: readonly string[]): XenLabOptions {
  const command = new Command('npm run lab:xen --')
    .description('Two real Xen hosts under emulation, joined, with PVH guests that do the demo\'s work over the coloured switch; one of them loses its power. Takes some minutes and 3 GiB of memory. Exit 0: everything was checked often enough and held. 1: not so, or it broke off. 2: wrong arguments. 130: interrupted.')
    .option('--seconds <n>', 'how long the guests work before each look at them', whole(5, 3_600), 30)
    .option('--json', 'the report on standard output, all else on standard error', false)
    .exitOverride();
  command.parse([...args], { from: 'user' });
  return command.opts<XenLabOptions>();
}
