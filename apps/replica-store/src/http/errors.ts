/** An answer other than success; the body says what is wrong and what to do. */
export class HttpError extends Error {
  constructor(readonly status: number, message: string) { super(message); }
}
