// The small guests that the demo, the bench and the end-to-end tests run.
import { buildGuests, guestsAreBuilt } from '../../guests/build.mjs';
import { refreshPackageLists } from './packages.mjs';
import { StepFailed, say } from './shell.mjs';

export function bringGuests() {
  if (!guestsAreBuilt()) {
    say('building the guests from distribution packages');
    refreshPackageLists();
  }
  try {
    buildGuests();
  } catch (error) {
    throw new StepFailed(`the guests cannot be built: ${error.stderr ?? ''}${error.message}`);
  }
}
