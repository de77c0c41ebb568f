import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decisionSchemas, jsonSchemas, reportSchemas } from '../src/index.js';

const docs = fileURLToPath(new URL('../../../docs', import.meta.url));
const schemas = Object.entries(jsonSchemas());
const text = (schema: unknown): string => `${JSON.stringify(schema, null, 2)}\n`;
const published = (): string[] => ['cluster.schema.json', ...readdirSync(join(docs, 'events'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.schema.json')).map((name) => join('events', name))].sort();

// To publish a change that is meant: VIRTCFT_PUBLISH=1, then say in the change log what consumers must do.
if (process.env['VIRTCFT_PUBLISH'] === '1') {
  for (const name of published()) rmSync(join(docs, name), { force: true });
  for (const [path, schema] of schemas) {
    mkdirSync(dirname(join(docs, path)), { recursive: true });
    writeFileSync(join(docs, path), text(schema));
  }
}

it('every schema is published, and nothing else', () => {
  expect(published()).toEqual(schemas.map(([path]) => path).sort());
  expect(schemas).toHaveLength(Object.keys(decisionSchemas).length + Object.keys(reportSchemas).length + 3);
});

it.each(schemas)('docs/%s is what the code reads and writes', (path, schema) => {
  expect(readFileSync(join(docs, path), 'utf8')).toBe(text(schema));
});

it('the pages name every event', () => {
  const page = readFileSync(join(docs, 'events', 'README.md'), 'utf8');
  for (const type of [...Object.keys(decisionSchemas), ...Object.keys(reportSchemas)]) expect(page).toContain(`\`${type}\``);
});
