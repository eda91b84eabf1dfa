// Every hook on one page: what it gives stands in a line with its name, what it can do is a button.
import * as hooks from "@trigger.dev/react-hooks";

function Line({ name, said, deeds = {} }) {
  return (
    <p id={name}>
      {name}: <span>{said}</span>
      {Object.entries(deeds).map(([deed, act]) => <button key={deed} className={deed} onClick={act}>{deed}</button>)}
    </p>
  );
}

const told = (run) => `${run?.status} ${run?.metadata?.progress ?? "-"} ${run?.output ?? "-"}`;
const words = (parts) => (parts ?? []).map((part) => part.n).join(",");
const quiet = (promise) => Promise.resolve(promise).catch(() => undefined);

export function Hooks({ url, tag, ticking, telling, done, tagged, batch, wait, approval, once, followed, streamed }) {
  const as = (token) => ({ accessToken: token, baseURL: url });
  const lines = {
    useRealtimeRun: () => {
      const { run, error } = hooks.useRealtimeRun(ticking.id, as(ticking.token));
      return [error?.message ?? told(run)];
    },
    useInputStreamSend: () => {
      const { send, isReady } = hooks.useInputStreamSend("orders", ticking.id, as(ticking.token));
      const tick = (number) => () => quiet(send({ tick: String(number) }));
      return [isReady ? "ready" : "not yet", { one: tick(1), two: tick(2) }];
    },
    useRealtimeRunWithStreams: () => {
      const { run, streams } = hooks.useRealtimeRunWithStreams(telling.id, as(telling.token));
      return [`${run?.status} ${words(streams?.words)}`];
    },
    useRealtimeStream: () => {
      const { parts, error } = hooks.useRealtimeStream(telling.id, "words", as(telling.token));
      return [error?.message ?? words(parts)];
    },
    useRealtimeRunsWithTag: () => {
      const { runs } = hooks.useRealtimeRunsWithTag(tag, as(tagged.token));
      return [(runs ?? []).map(told).join(";")];
    },
    useRealtimeBatch: () => {
      const { runs } = hooks.useRealtimeBatch(batch.id, as(batch.token));
      return [(runs ?? []).map((run) => `${run.taskIdentifier} ${run.status}`).sort().join(";")];
    },
    useRun: () => {
      const { run } = hooks.useRun(done.id, as(done.token));
      return [told(run)];
    },
    useWaitToken: () => {
      const { complete, isCompleted } = hooks.useWaitToken(wait.id, as(wait.token));
      return [isCompleted ? "completed" : "open", { complete: () => quiet(complete({ approved: true })) }];
    },
    approval: () => {
      const { run } = hooks.useRealtimeRun(approval.id, as(approval.token));
      return [`${run?.status} ${JSON.stringify(run?.output)}`];
    },
    useTaskTrigger: () => {
      const { submit, handle, error } = hooks.useTaskTrigger("mail", as(once));
      return [error ? `refused ${error.status}` : handle?.id ?? "-", { submit: () => quiet(submit(5)) }];
    },
    useRealtimeTaskTrigger: () => {
      const { submit, run, error } = hooks.useRealtimeTaskTrigger("ticks", as(followed));
      return [error?.message ?? told(run), { submit: () => quiet(submit(0)) }];
    },
    useRealtimeTaskTriggerWithStreams: () => {
      const { submit, run, streams } = hooks.useRealtimeTaskTriggerWithStreams("tells", as(streamed));
      return [`${run?.status} ${words(streams?.words)}`, { submit: () => quiet(submit(2)) }];
    },
  };
  return Object.entries(lines).map(([name, useLine]) => <Shown key={name} name={name} useLine={useLine} />);
}

function Shown({ name, useLine }) {
  const [said, deeds] = useLine();
  return <Line name={name} said={said} deeds={deeds} />;
}
