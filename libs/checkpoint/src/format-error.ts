/** Bytes that are not what they should be: damaged, cut short, or of another format. Nothing of them may be used. */
export class FormatError extends Error {
  readonly code = 'FORMAT';
  override readonly name = 'FormatError';
  constructor(
    /** Which part: `segment header`, `pack index`, `manifest`, ... */
    readonly part: string,
    readonly reason: string,
  ) {
    super(`bad ${part}: ${reason}`);
  }
}
