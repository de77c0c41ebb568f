/** What the trial saw, as the judge needs it. */
export interface TrialFacts {
  readonly services: readonly { readonly name: string; readonly exitCode: number }[];
  /** The service that was killed on purpose. */
  readonly killed: string;
  readonly generationBefore: number;
  readonly generationAfter: number;
  /** Epochs committed: before the kill, and when the trial ended. */
  readonly committedBefore: number;
  readonly committedAfter: number;
  readonly cutsWanted: number;
  /** What an outside client wrote, was told is written, and read again after the recovery. */
  readonly acknowledged: string;
  readonly readBack: string;
  readonly cutObjects: number;
  /** Objects sealed with the current key, and others. */
  readonly sealed: number;
  readonly unsealed: number;
  /** A service's user of the object store tried to delete. */
  readonly deleteRefused: boolean;
  /** Secret values that the resolved compose file shows. */
  readonly secretsShown: number;
  readonly stop_s: number;
  readonly grace_s: number;
  readonly left: readonly string[];
}

export interface Finding { readonly check: string; readonly ok: boolean; readonly detail: string }

/** Every check of the trial with what was seen. */
export function judgeTrial(facts: TrialFacts): Finding[] {
  const unclean = facts.services.filter(({ name, exitCode }) => name !== facts.killed && exitCode !== 0);
  const finding = (check: string, ok: boolean, detail: string): Finding => ({ check, ok, detail });
  const after = facts.committedAfter - facts.committedBefore;
  return [
    finding('cuts are committed, to MinIO', facts.committedBefore >= facts.cutsWanted && facts.cutObjects >= facts.cutsWanted, `${facts.committedBefore} committed before the kill; ${facts.cutObjects} cuts in the bucket at the end`),
    finding('the cluster came back by itself', facts.generationAfter === facts.generationBefore + 1, `generation ${facts.generationBefore}, then ${facts.generationAfter}`),
    finding('and goes on committing', after >= facts.cutsWanted, `${after} committed since`),
    finding('what was acknowledged is there', facts.acknowledged === facts.readBack, facts.acknowledged === facts.readBack ? 'read back' : `"${facts.acknowledged}" was written, "${facts.readBack}" is read`),
    finding('every object is sealed', facts.sealed >= facts.cutsWanted && facts.unsealed === 0, `${facts.sealed} with the current key, ${facts.unsealed} not`),
    finding('no service may delete a cut', facts.deleteRefused, facts.deleteRefused ? 'refused' : 'a delete was carried out'),
    finding('no secret is in the compose file', facts.secretsShown === 0, `${facts.secretsShown} shown`),
    finding('every service stops when told', unclean.length === 0 && facts.stop_s < facts.grace_s, unclean.length === 0 ? `all in ${facts.stop_s.toFixed(1)} s, exit code 0` : unclean.map(({ name, exitCode }) => `${name} ended with ${exitCode}`).join(', ')),
    finding('nothing is left', facts.left.length === 0, facts.left.length === 0 ? 'nothing' : facts.left.join(', ')),
  ];
}
