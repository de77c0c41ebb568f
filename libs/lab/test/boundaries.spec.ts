import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..', '..', '..');

/** Rules that a fixture breaks when it is linted as the file `as`. */
function brokenRules(fixture: string, as: string): { rules: string[]; text: string } {
  const input = readFileSync(join(import.meta.dirname, 'fixtures', fixture));
  const ended = spawnSync(process.execPath, [join(root, 'node_modules/eslint/bin/eslint.js'), '--stdin', '--stdin-filename', join(root, as), '--format', 'json'],
    { cwd: root, input, encoding: 'utf8', env: { ...process.env, NX_DAEMON: 'false' } });
  const [result] = JSON.parse(ended.stdout) as [{ messages: { ruleId: string; message: string }[] }];
  return { rules: result.messages.map((message) => message.ruleId), text: result.messages.map((message) => message.message).join('\n') };
}

describe('module boundaries', () => {
  // Without nx's cached graph the rule says nothing.
  beforeAll(() => {
    const ended = spawnSync(process.execPath, [join(root, 'node_modules/nx/dist/bin/nx.js'), 'show', 'projects'], { cwd: root, encoding: 'utf8', env: { ...process.env, NX_DAEMON: 'false' } });
    expect(ended.stdout).toContain('@virtcft/protocol');
  });

  it('a pure library may not import one that does I/O', () => {
    const { rules, text } = brokenRules('pure-imports-io.ts', 'libs/protocol/src/forbidden.ts');
    expect(rules).toEqual(['@nx/enforce-module-boundaries']);
    expect(text).toContain('scope:pure');
  });

  it('an app may not import the lab, but its tests may', () => {
    expect(brokenRules('app-imports-lab.ts', 'apps/coordinator/src/forbidden.ts').rules).toEqual(['@nx/enforce-module-boundaries']);
    expect(brokenRules('app-imports-lab.ts', 'apps/coordinator/test/allowed.spec.ts').rules).toEqual([]);
  });

  it('the same import is allowed where it belongs', () => {
    expect(brokenRules('pure-imports-io.ts', 'libs/fabric/src/allowed.ts').rules).toEqual([]);
  });
});
