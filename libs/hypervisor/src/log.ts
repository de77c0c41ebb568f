/** Where a driver writes what an operator may want to know; facts as fields. */
export type Log = (message: string, fields?: Readonly<Record<string, string | number | boolean | null>>) => void;
