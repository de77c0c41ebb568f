export { Coordinator } from './coordinator.js';
export { coordinatorService, runCoordinator, startCoordinator, type CoordinatorConfiguration, type RunningCoordinator } from './run.js';
