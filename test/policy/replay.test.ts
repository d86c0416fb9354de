import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EvaluationContext } from '../../src/model/context.ts';
import { decide } from '../../src/policy/engine.ts';
import type { EngineDecision } from '../../src/policy/engine.ts';
import { factorTypes } from '../../src/risk/registry.ts';
import type { CompiledApplication } from '../../src/policy/compile.ts';
import { decodeFacts, encodeFacts, missingFacts } from '../../src/policy/replay.ts';
import { ann, identityOf, requestFacts } from '../rules/contexts.ts';
import { APPLICATION, CONTEXTS, HOST, compiledSet, contexts, policyData, settingsOf } from './sets.ts';
import { EvaluationContext as Context } from '../../src/model/context.ts';

/** Everything of a decision but who it was for, of whom a recording holds only what rules read. */
function told({ identity: _identity, linkedIdentity: _linked, adaptive, ...decision }: EngineDecision): object {
  return {
    ...decision,
    trace: adaptive && {
      ...adaptive,
      trace: {
        ...adaptive.trace,
        rules: adaptive.trace.rules.map((rule) => ({
          ...rule,
          factors: rule.factors.map(({ seen: _seen, ...one }) => one),
        })),
      },
    },
  };
}

function throughJson(context: EvaluationContext, application: CompiledApplication): EvaluationContext {
  const decoded = decodeFacts(JSON.parse(JSON.stringify(encodeFacts(context, application))));
  if ('wrong' in decoded) throw new Error(decoded.wrong);
  return decoded.context;
}

it('contexts of every risk factor are generated', () => {
  expect(Object.keys(CONTEXTS).toSorted()).toEqual(factorTypes.map(({ property }) => property).toSorted());
});

describe('recorded facts', () => {
  it('decide as the facts themselves did', async () => {
    const outcomes = new Set<string>();
    await fc.assert(
      fc.asyncProperty(policyData, fc.array(contexts, { minLength: 8, maxLength: 8 }), async (made, asked) => {
        const { compiled } = await compiledSet(made.data, settingsOf(made.fromIdentity));
        const application = compiled.applications.find(({ named }) => named.id === APPLICATION);
        if (!application) throw new Error('no application');
        for (const context of asked) {
          const again = throughJson(context, application);
          const decision = decide(application, context);
          outcomes.add(decision.reason);
          expect(told(decide(application, again))).toEqual(told(decision));
        }
      }),
      { numRuns: 150 },
    );
    // The law is worth something only where decisions of all kinds were made.
    expect([...outcomes]).toEqual(
      expect.arrayContaining([
        'policy_allowed',
        'policy_bypassed',
        'policy_denied',
        'no_policy_matched',
        'not_authenticated',
        'token_invalid',
        'fact_unavailable',
        'step_up_required',
        'no_resource_rule',
      ]),
    );
  });

  it('lack nothing that the application they were recorded for reads', async () => {
    await fc.assert(
      fc.asyncProperty(policyData, contexts, async (made, context) => {
        const { compiled } = await compiledSet(made.data, settingsOf(made.fromIdentity));
        const application = compiled.applications.find(({ named }) => named.id === APPLICATION);
        if (!application) throw new Error('no application');
        // What is declared is gathered: the generator leaves none of it out.
        context.linkedTokens = new Map(application.needs.linkedTokens.map((id) => [id, { verdict: 'unmet' }]));
        expect(missingFacts(encodeFacts(context, application), application)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it('hold no claim, attribute, header, query, session or token id that no rule reads', async () => {
    const { compiled } = await compiledSet(
      {
        applications: [
          {
            id: APPLICATION,
            name: 'Orders',
            destinations: [HOST],
            policies: [
              {
                name: 'Core',
                decision: 'allow',
                include: [
                  {
                    oidc: {
                      claim_name: 'team',
                      claim_value: 'core',
                      identity_provider_id: '11111111-1111-1111-1111-111111111111',
                    },
                  },
                ],
              },
            ],
          },
        ],
      },
      settingsOf(true),
    );
    const [application] = compiled.applications;
    if (!application) throw new Error('no application');
    const marker = 'MARKER-7f3a';
    const facts = ann({ team: 'core', phone: marker });
    const context = Object.assign(
      new Context(requestFacts({ query: marker, target: `/?${marker}`, certificate: marker, streamId: marker }), 0),
      facts,
    );
    if (context.identity.state !== 'known') throw new Error('nobody');
    context.identity = {
      state: 'known',
      identity: identityOf({
        ...context.identity.identity,
        session: marker,
        tokenId: marker,
        name: marker,
        groupsClaim: marker,
        samlAttributes: new Map([[marker, marker]]),
        posture: new Map([[marker, { success: true }]]),
      }),
    };
    const written = JSON.stringify(encodeFacts(context, application));
    expect(written).toContain('"team","core"');
    expect(written).not.toContain(marker);
  });

  it.each([
    ['nothing', undefined],
    ['text', 'x'],
    ['no process time', { facts: [], method: 'GET', host: 'a.example', path: '/', headers: [] }],
    ['a verdict that is none', { ...base(), evaluations: [['u', 'allowed']] }],
    ['an identity of an unknown state', { ...base(), identity: { state: 'root' } }],
  ])('that are %s are refused', (_, json) => {
    expect(decodeFacts(json)).toHaveProperty('wrong');
  });
});

function base(): object {
  return { facts: [], process_time_ms: 1, method: 'GET', host: 'a.example', path: '/', headers: [] };
}
