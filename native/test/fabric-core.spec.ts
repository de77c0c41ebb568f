import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** The C++ tests of the fabric's core and edge, built without sanitizers (`native/test/fabric.sh` with them). */
test('the core keeps its rules over real sockets: cuts at random, the gate, the edge', async () => {
  const { stdout } = await promisify(execFile)(join(import.meta.dirname, 'fabric.sh'), ['plain']);
  expect(stdout).toContain('ok: cuts are consistent and lose nothing');
  expect(stdout).toContain('ok: holds output until its cut is committed');
  expect(stdout).toContain('ok: cuts joined segments');
}, 600_000);
