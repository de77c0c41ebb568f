/** Columns padded to their widest cell, two spaces between; numbers to the right. An empty list says so. */
export function table(rows: readonly Readonly<Record<string, string | number | null>>[], nothing: string): string {
  const [first] = rows;
  if (first === undefined) return `${nothing}\n`;
  const names = Object.keys(first);
  const cells = rows.map((row) => names.map((name) => text(row[name] ?? null)));
  const right = names.map((name) => rows.every((row) => row[name] === null || typeof row[name] === 'number'));
  const widths = names.map((name, column) => Math.max(name.length, ...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string => row.map((cell, column) => (right[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0))).join('  ').trimEnd();
  return `${[line(names.map((name) => name.toUpperCase())), ...cells.map(line)].join('\n')}\n`;
}

/** Names and values, one a line; lists indented below their name. */
export function description(entries: readonly (readonly [string, string | number | null | readonly string[]])[]): string {
  const width = Math.max(...entries.map(([name]) => name.length)) + 1;
  return entries.map(([name, value]) => {
    if (!Array.isArray(value)) return `${`${name}:`.padEnd(width)} ${text(value as string | number | null)}`;
    return value.length === 0 ? `${`${name}:`.padEnd(width)} -` : `${name}:\n${value.map((item: string) => `  ${item}`).join('\n')}`;
  }).join('\n') + '\n';
}

const text = (value: string | number | null): string => (value === null || value === '' ? '-' : printable(String(value)));

/** Names and reasons come from other machines: nothing of them may steer the terminal. */
export const printable = (value: string): string => value.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?');

/** 12 ms, 3.4 s, 5 m 20 s, 2 h 10 m, 3 d 4 h. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const s = ms / 1_000;
  if (s < 60) return `${s.toFixed(1)} s`;
  const parts: [number, string][] = s < 3_600 ? [[60, 'm'], [1, 's']] : s < 86_400 ? [[3_600, 'h'], [60, 'm']] : [[86_400, 'd'], [3_600, 'h']];
  const [big, small] = parts;
  if (!big || !small) return '';
  return `${Math.floor(s / big[0])} ${big[1]} ${Math.floor((s % big[0]) / small[0])} ${small[1]}`;
}

export const ago = (time: Date, now: Date): string => `${duration(Math.max(0, now.getTime() - time.getTime()))} ago`;
