import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decisionSchemas, decodeDecision, decodeRegistration, decodeReport, jsonSchemas, reportSchemas } from '../src/index.js';
import { samples } from './samples.js';

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
  writeFileSync(join(docs, 'events', 'samples.json'), text(samples()));
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

it('the golden samples are what is written, and are read as they are', () => {
  const golden = JSON.parse(readFileSync(join(docs, 'events', 'samples.json'), 'utf8')) as ReturnType<typeof samples>;
  expect(golden).toEqual(samples());
  let previous: string | null = null;
  for (const { subject, headers, payload } of golden) {
    const header = (name: string): string => headers[name] ?? '';
    const bytes = new TextEncoder().encode(payload);
    if (subject.endsWith('.decision')) {
      const decoded = decodeDecision(header, bytes);
      expect(decoded.previous).toBe(previous);
      previous = decoded.hash;
    } else if (subject.endsWith('.registered')) expect(decodeRegistration(header, bytes).host).toBe('a');
    else expect(decodeReport(header, bytes).report.data).toEqual(JSON.parse(payload));
  }
  expect(previous).toMatch(/^[0-9a-f]{64}$/);
});
