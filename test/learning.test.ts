/** Users who travel, and what the program learns of them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PORTO, startLearning, strong, TOKYO, VIGO, weak } from './learning-program.ts';
import type { City, LearningProgram, Login } from './learning-program.ts';

const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';

/** An application of everybody's, with this in its one resource rule; more risk asks for a second factor. */
function application(
  number: number,
  host: string,
  rule: string,
): { readonly application: string; readonly rule: string } {
  const id = ORDERS.replace(/1$/, String(number));
  return {
    application: `{ id: ${id}, name: ${host}, destinations: [${host}.example.com], policies: [{ name: A, decision: allow, include: [{ email_domain: { domain: example.com } }] }] }`,
    rule: `{ id: 0c3c0000-0000-4000-8000-00000000000${number}, name: ${host}, resourceId: ${id}, groups: [{ name: All Groups }], lowRiskThreshold: 30, mediumRiskThreshold: 70, mediumRiskAuthenticationFlow: { name: Password and Second Factor }, highRiskAuthenticationFlow: { name: Password and Second Factor }, ${rule} }`,
  };
}

const PASSWORD = 'lowRiskAuthenticationFlow: { name: Password }';

function policies(...applications: readonly ReturnType<typeof application>[]): string {
  return `applications:\n${applications.map((one) => `  - ${one.application}\n`).join('')}resource_rules:\n${applications.map(({ rule }) => `  - ${rule}\n`).join('')}`;
}

describe('travelling', () => {
  let program: LearningProgram;
  beforeAll(async () => {
    program = await startLearning({
      'policies/all.yaml': policies(
        application(
          1,
          'orders',
          `locationHistoryContext: { riskPoint: 50 }, travelVelocityContext: { riskPoint: 50 }, ${PASSWORD}`,
        ),
        application(2, 'plain', PASSWORD),
      ),
    });
  });
  afterAll(() => program.stop());

  it('from Porto to Vigo to Tokyo within minutes: stepped up, let in by two factors, learned, LOW', async () => {
    const user = 'traveller';
    const seen: string[] = [];
    const ask = async (login: (at: number, more: Partial<Login>) => string, from: City, at: number): Promise<void> => {
      const { outcome, level, cookies } = await program.ask({ token: login(at, { user }), from, at });
      expect(cookies).toEqual([]);
      seen.push(`${from.city} ${at} ${String(outcome)} ${String(level)}`);
    };
    await ask(weak, PORTO, 0);
    await ask(strong, PORTO, 1);
    await ask(weak, PORTO, 2);
    await ask(weak, VIGO, 3);
    await ask(strong, VIGO, 4);
    await ask(weak, VIGO, 5);
    await ask(weak, TOKYO, 6);
    await ask(strong, TOKYO, 7);
    await ask(weak, TOKYO, 8);
    expect(seen).toEqual([
      'Porto 0 step_up MEDIUM',
      'Porto 1 allow MEDIUM',
      'Porto 2 allow LOW',
      'Vigo 3 step_up HIGH',
      'Vigo 4 allow HIGH',
      'Vigo 5 allow LOW',
      'Tokyo 6 step_up HIGH',
      'Tokyo 7 allow HIGH',
      'Tokyo 8 allow LOW',
    ]);
  });
});
