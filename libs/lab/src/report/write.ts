import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { reportSchemas, type ReportName, type ReportOf } from './schemas.js';

/** A report that does not say what its schema promises is not written. Returns the path. */
export async function writeReport<N extends ReportName>(root: string, name: N, report: ReportOf<N>): Promise<string> {
  const checked = reportSchemas[name].safeParse(report);
  if (!checked.success) throw new Error(`the report ${name} does not validate: ${z.prettifyError(checked.error)}`);
  const path = join(root, '.artifacts', `${name}.json`);
  await mkdir(dirname(path), { recursive: true });
  // A reader sees the old report or the new one, never half of one.
  const draft = `${path}.${process.pid}.draft`;
  await writeFile(draft, `${JSON.stringify(checked.data, null, 2)}\n`);
  await rename(draft, path);
  return path;
}
