/** What ends the wait of a host at a two-phase barrier (R4a). `epoch` is what it closes: the one it stands for, or a newer one that a peer was heard of. */
export type Ending =
  | { readonly kind: 'capture'; readonly epoch: number }
  | { readonly kind: 'run-on'; readonly epoch: number; /** The seal did not come in time. */ readonly overdue: boolean }
  /** A raise, or the end of the cluster here: the VMs stay as they are. */
  | { readonly kind: 'stay' };

/** The wait of one host for the seal of one epoch; it begins with the order to stand still, so that whatever follows finds it. */
export class Seal {
  /** The first ending counts. */
  readonly ending: Promise<Ending>;
  private settle: (ending: Ending) => void = () => undefined;

  constructor(readonly epoch: number) {
    this.ending = new Promise((resolve) => { this.settle = resolve; });
  }

  end(ending: Ending): void { this.settle(ending); }

  /** At most `patience_ms`; then `overdue` is called, which has to end it. */
  async wait(patience_ms: number, overdue: () => void): Promise<Ending> {
    const timer = setTimeout(overdue, patience_ms);
    try {
      return await this.ending;
    } finally {
      clearTimeout(timer);
    }
  }
}
