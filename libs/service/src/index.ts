export { busEnvironment, connectBus, type BusConfiguration } from './bus.js';
export { readConfiguration, WrongConfiguration, type ServiceDescription } from './configuration.js';
export { Health, serveHealth, type HealthServer } from './health.js';
export { main, raisePriority, untilTerminated } from './process.js';
export { storeEnvironment } from './store.js';
export { never, Steps, type Outcome, type StepsOptions } from './steps.js';
