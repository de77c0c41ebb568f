import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mutants } from '@virtcft/simulation';

const root = join(import.meta.dirname, '..', '..', '..');
const text = readFileSync(join(root, 'SPECIFICATION.md'), 'utf8');
/** A test file in backticks, then a colon and one or more names in quotes. */
const named = [...text.matchAll(/`([^`]+\.(?:ts|cc))`: ((?:"[^"]+"(?:, )?)+)/g)].flatMap(([, file, names]) =>
  [...(names ?? '').matchAll(/"([^"]+)"/g)].map(([, name]): [string, string] => [file ?? '', name ?? '']));

describe('SPECIFICATION.md', () => {
  it('names tests that exist', () => {
    expect(named.length).toBeGreaterThan(100);
    const sources = new Map(named.map(([file]) => [file, existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8').replaceAll('\\', '') : '']));
    // As the name of a test, or as what a C++ test prints when it is done.
    const hasIt = ([file, name]: [string, string]): boolean => [`'${name}'`, `"${name}"`, `"ok: ${name}n"`].some((quoted) => sources.get(file)?.includes(quoted));
    expect(named.filter((each) => !hasIt(each))).toEqual([]);
  });

  it('names mutants that exist, and every one of them', () => {
    const listed = [...text.matchAll(/mutants? ((?:"[^"]+"(?:, )?)+)/g)].flatMap(([, names]) => [...(names ?? '').matchAll(/"([^"]+)"/g)].map(([, name]) => name));
    expect([...new Set(listed)].sort()).toEqual(mutants.map(({ name }) => name).sort());
  });

  it('has a line for every invariant and rule', () => {
    const rules = Array.from({ length: 27 }, (_, at) => `R${at + 1}`);
    for (const label of [...rules, 'R2a', 'R4a', 'R23a']) expect(text).toMatch(new RegExp(`^\\| ${label} `, 'm'));
    for (const label of ['I1', 'I2', 'I3', 'I4', 'I5', 'I6']) expect(text).toMatch(new RegExp(`^\\| ${label} \\|`, 'm'));
  });
});
