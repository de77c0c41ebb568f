import { Controller } from '@nestjs/common';
import { OnDecision, OnHeartbeat, OnRegistration, OnReport, OnRequest, type RegisteredHost, type StoredDecision, type StoredReport } from '@virtcft/bus';
import type { Heartbeat } from '@virtcft/events';
import type { z } from 'zod';
import { Coordinator } from '../coordinator.js';
import { Operations } from './operations.js';
import { rebuild } from './rebuild.js';
import { ApplyRequest, GetRequest, PinRequest, ProtectRequest, RebuildRequest, RestoreRequest, StopRequest, UnpinRequest } from './requests.js';
import { hostsView } from './view.js';

@Controller()
export class CoordinatorController {
  constructor(private readonly coordinator: Coordinator, private readonly operations: Operations) {}

  @OnDecision()
  onDecision(decision: StoredDecision): void { this.coordinator.onDecision(decision); }

  @OnReport('segments.stored', 'barrier.reached', 'capture.failed', 'vms.started', 'vm.seeded', 'host.suspected', 'vm.failed', 'recovery.failed', 'object.damaged', 'alarm.cleared')
  onReport(report: StoredReport): void { this.coordinator.onReport(report); }

  @OnRegistration()
  onRegistration({ registration }: RegisteredHost): void { this.coordinator.onRegistration(registration); }

  @OnHeartbeat()
  onHeartbeat(heartbeat: Heartbeat): void { this.coordinator.onHeartbeat(heartbeat); }

  @OnRequest('coordinator', 'apply', ApplyRequest)
  apply(request: z.infer<typeof ApplyRequest>) { return this.operations.apply(request); }

  @OnRequest('coordinator', 'get', GetRequest)
  get(request: z.infer<typeof GetRequest>) { return this.operations.get(request?.cluster); }

  @OnRequest('coordinator', 'protect', ProtectRequest)
  protect({ cluster, by }: z.infer<typeof ProtectRequest>) { return this.operations.protect(cluster, by, true); }

  @OnRequest('coordinator', 'unprotect', ProtectRequest)
  unprotect({ cluster, by }: z.infer<typeof ProtectRequest>) { return this.operations.protect(cluster, by, false); }

  @OnRequest('coordinator', 'stop', StopRequest)
  stop({ cluster, by }: z.infer<typeof StopRequest>) { return this.operations.stop(cluster, by); }

  @OnRequest('coordinator', 'restore', RestoreRequest)
  restore(request: z.infer<typeof RestoreRequest>) { return this.operations.restore(request); }

  @OnRequest('coordinator', 'pin', PinRequest)
  pin(request: z.infer<typeof PinRequest>) { return this.operations.pin(request); }

  @OnRequest('coordinator', 'unpin', UnpinRequest)
  unpin(request: z.infer<typeof UnpinRequest>) { return this.operations.unpin(request); }

  @OnRequest('coordinator', 'rebuild', RebuildRequest)
  rebuild(request: z.infer<typeof RebuildRequest>) { return rebuild(this.coordinator, request); }

  @OnRequest('coordinator', 'hosts', GetRequest)
  hosts() { return { hosts: hostsView(this.coordinator.context.offers, this.coordinator.all()) }; }
}
