import type { Decision, DecisionData, DecisionType, Report, ReportData, ReportType } from '@virtcft/events';

/** One decision or report as an outside watcher saw it. */
export interface Fact {
  /** When its author wrote it, milliseconds since 1970; all authors of a lab share one clock. */
  readonly at_ms: number;
  /** Stream sequence, of decisions or of reports. */
  readonly sequence: number;
  /** `decision`, or the report's source: a host or a service. */
  readonly source: string;
  readonly fact: Decision | Report;
}
export type FactType = Fact['fact']['type'];
type FactOf = DecisionDataOf & ReportDataOf;
type DecisionDataOf = { [T in DecisionType]: DecisionData<T> };
type ReportDataOf = { [T in ReportType]: ReportData<T> };
export type FactData<T extends FactType> = FactOf[T];

/** The data of a fact of this type, or null. */
export function of<T extends FactType>({ fact }: Fact, type: T): FactData<T> | null {
  return fact.type === type ? fact.data as unknown as FactData<T> : null;
}

/** All facts of one type, oldest first. */
export function all<T extends FactType>(facts: readonly Fact[], type: T): { fact: Fact; data: FactData<T> }[] {
  return facts.flatMap((fact) => {
    const data = of(fact, type);
    return data === null ? [] : [{ fact, data }];
  });
}
