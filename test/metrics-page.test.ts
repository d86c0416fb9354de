/** The page that documents the metrics, and the registry, are the same list. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { createMetrics } from '../src/metrics.ts';

it('docs/metrics.md names every metric with its type and labels, and no other', async () => {
  const page = readFileSync(new URL('../docs/metrics.md', import.meta.url), 'utf8');
  const documented = [...page.matchAll(/^\| `(postern_\w+)` \| (\w+) \| (.*?) ?\| /gm)].map(
    ([, name = '', type = '', labels = '']) => `${name} ${type} ${labels.replaceAll('`', '')}`.trim(),
  );
  const metrics = createMetrics({ nodeMetrics: false });
  metrics.checkFinished('allow', 0.001);
  metrics.stageFinished('decide', 0.001);
  metrics.decided('Orders', 'allow', 'policy_allowed');
  metrics.riskLevel('Orders', 'LOW');
  metrics.stepUpSucceeded('Orders');
  metrics.factorVerdict('ip', 'RISK');
  metrics.setRevision('0123456789ab');
  metrics.reloaded('success', 1);
  metrics.factFinished('identity', 0.001, false);
  metrics.keySetRead('https://idp.example/keys', true, 1);
  metrics.setExpiries([{ kind: 'service_token', name: 'ci', epochSeconds: 1 }]);
  metrics.cacheRequest('token', 'hit');
  metrics.stateError('read');
  metrics.stateFinished('read', 0.001);
  metrics.checkFailed('late');
  metrics.shadowDecided('Orders', 'allow', 'deny');
  metrics.setShadow(true);
  metrics.spansCounted('recorded', 1);
  metrics.shadowDecided('Orders', 'allow', 'deny');
  const { body } = await metrics.render();
  const registered = [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => {
    const series = body.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name}_bucket{`));
    const labels = new Set(series.flatMap((line) => [...line.matchAll(/[{,](\w+)="/g)].map(([, label = '']) => label)));
    labels.delete('le');
    return `${name} ${type} ${[...labels].join(', ')}`.trim();
  });
  expect(documented.toSorted()).toEqual(registered.toSorted());
});
