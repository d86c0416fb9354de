/** What Prometheus' own linter says of our metrics: names, units, help, histograms. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { createMetrics } from '../../src/metrics.ts';

async function complaints(exposition: string): Promise<string> {
  const child = spawn('promtool', ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.on('error', () => (text += 'no promtool: node test/real-parts.mjs prometheus'));
  child.stdin.on('error', () => undefined);
  child.stdin.end(exposition);
  await once(child, 'close');
  return text;
}

it('our metrics are as promtool wants them', async () => {
  const metrics = createMetrics({ nodeMetrics: false });
  metrics.checkFinished('allow', 0.001, 'a'.repeat(32));
  metrics.stageFinished('decide', 0.001);
  metrics.decided('Or"ders\n', 'allow', 'policy_allowed');
  metrics.riskLevel('Orders', 'LOW');
  metrics.stepUpSucceeded('Orders');
  metrics.factorVerdict('ip', 'RISK');
  metrics.setRevision('0123456789ab');
  metrics.reloaded('success', 1_772_634_600);
  metrics.factFinished('identity', 0.002, false);
  metrics.keySetRead('https://idp.example/keys', true, 1_772_634_600);
  metrics.setExpiries([{ kind: 'service_token', name: 'ci', epochSeconds: 1_772_634_600 }]);
  metrics.cacheRequest('token', 'hit');
  metrics.stateFinished('read', 0.001);
  metrics.spansCounted('recorded', 1);
  const { body } = await metrics.render();
  expect(await complaints(body)).toBe('');
  expect(await complaints(body.replaceAll('_seconds', '_milliseconds'))).toContain('milliseconds');
}, 60_000);
