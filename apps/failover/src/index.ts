export { Failover } from './failover.js';
export { failoverService, runFailover, startFailover, type FailoverConfiguration, type RunningFailover } from './run.js';
