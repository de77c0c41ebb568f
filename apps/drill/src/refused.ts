/** The drill cannot be done: why, and what to do next. */
export class DrillRefused extends Error {
  override readonly name = 'DrillRefused';
  constructor(message: string, readonly next: string, options?: ErrorOptions) {
    super(message, options);
  }
}
