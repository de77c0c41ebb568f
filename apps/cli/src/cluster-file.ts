import { readFileSync } from 'node:fs';
import { ClusterSpec } from '@virtcft/events';
import { isMap, isPair, isScalar, LineCounter, parseDocument, type Document } from 'yaml';
import { jsonSchemas } from '@virtcft/events';
import type { z } from 'zod';
import { CliError, exit } from './exit.js';
import { whyUngated } from './ungated.js';

/** A file of a thousand VMs is about 200 KiB. */
const MAX_FILE_BYTES = 1_048_576;

/** Throws CliError (usage) that names the file, the line, the key and what to write there. `-` reads stdin. */
export function readClusterFile(path: string): ClusterSpec {
  return parseClusterFile(readText(path), path === '-' ? 'stdin' : path);
}

function readText(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new CliError(exit.usage, `${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`, 'give the cluster file with -f', { cause: error });
  }
}

export function parseClusterFile(text: string, name: string): ClusterSpec {
  if (text.length > MAX_FILE_BYTES) throw new CliError(exit.usage, `${name} has ${text.length} characters; a cluster file has at most ${MAX_FILE_BYTES}`);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, logLevel: 'error' });
  if (document.errors.length > 0) refuse(document.errors.map((error) => `${place(name, lines, error.pos[0])}: ${error.message}`));
  const parsed = ClusterSpec.safeParse(plain(document, name));
  if (parsed.success) return parsed.data;
  return refuse(parsed.error.issues.map((issue) => {
    const { path, message } = explain(issue, document);
    return `${place(name, lines, offsetOf(document, path))}: ${path.length === 0 ? '' : `${keyPath(path)}: `}${message}`;
  }));
}

function refuse(problems: readonly string[]): never {
  const shown = problems.slice(0, 20);
  if (problems.length > shown.length) shown.push(`and ${problems.length - shown.length} more`);
  throw new CliError(exit.usage, shown.join('\n'), 'correct the file; "virtcft schema" prints all it may say');
}

function plain(document: Document, name: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new CliError(exit.usage, `${name}: ${(error as Error).message}`, 'write it without so many aliases', { cause: error });
  }
}

type Path = readonly PropertyKey[];

const place = (name: string, lines: LineCounter, offset: number | null): string => {
  if (offset === null) return name;
  const { line, col } = lines.linePos(offset);
  return `${name}:${line}:${col}`;
};

const keyPath = (path: Path): string => path.map((part, i) => (typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${String(part)}`)).join('');

/** Where a key stands, or the nearest thing around it that is there. */
function offsetOf(document: Document, path: Path): number | null {
  for (let length = path.length; length > 0; length--) {
    const parent: unknown = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    const key = path[length - 1];
    if (isMap(parent)) {
      const pair = parent.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === key);
      if (pair && isScalar(pair.key) && pair.key.range) return pair.key.range[0];
    }
    const node: unknown = document.getIn(path.slice(0, length), true);
    const range = node !== null && typeof node === 'object' && 'range' in node ? (node.range as [number, number, number] | null) : null;
    if (range) return range[0];
  }
  return document.contents?.range?.[0] ?? null;
}

/** What to write, rather than what a parser expected. */
function explain(issue: z.core.$ZodIssue, document: Document): { path: Path; message: string } {
  if (issue.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    const refused = whyUngated(key);
    if (refused !== null) return { path: [...issue.path, key], message: `cannot be protected: ${refused}` };
    const known = keysAt(issue.path);
    const near = known.find((name) => distance(name.toLowerCase(), key.toLowerCase()) <= 2);
    return { path: [...issue.path, key], message: `there is no such key; ${near === undefined ? `use ${known.join(', ')}` : `did you mean ${near}?`}` };
  }
  const value: unknown = document.getIn(issue.path, false);
  if (issue.code === 'invalid_type' && value === undefined) return { path: issue.path, message: `is missing; write ${issue.expected === 'array' ? 'a list' : issue.expected === 'int' ? 'a whole number' : `a ${issue.expected}`}` };
  if (issue.code === 'invalid_value' && issue.values.length > 0) return { path: issue.path, message: `write ${issue.values.map(String).join(' or ')}` };
  return { path: issue.path, message: issue.message };
}

interface ObjectSchema { readonly properties?: Record<string, ObjectSchema>; readonly items?: ObjectSchema }

function keysAt(path: Path): string[] {
  let at = jsonSchemas()['cluster.schema.json'] as ObjectSchema | undefined;
  for (const part of path) at = typeof part === 'number' ? at?.items : at?.properties?.[String(part)];
  return Object.keys(at?.properties ?? {});
}

/** Levenshtein. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length] ?? 0;
}
