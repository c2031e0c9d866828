// The Go client of the agent: the arguments are its socket and a job, the answer is a line of JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"os"
	"strconv"
	"time"

	"tokenseal"
)

type job struct {
	Op, Channel, Value string
	Times              int
}

var ctx = context.Background()

func (j job) key() tokenseal.RowKey {
	return tokenseal.RowKey{Row: map[string]any{"provider": "twitch", "channel": j.Channel}}
}

func main() {
	var asked job
	must(json.Unmarshal([]byte(os.Args[2]), &asked))
	agent, err := tokenseal.NewAgentClient(os.Args[1], "")
	must(err)
	operations := map[string]func(*tokenseal.AgentClient, job) any{
		"exercise": exercise, "read": read, "add": add, "measure": measure, "delete": remove,
	}
	must(json.NewEncoder(os.Stdout).Encode(operations[asked.Op](agent, asked)))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// status is how a call ended: the status and the class of its error.
func status(err error) []any {
	var failed *tokenseal.AgentError
	if errors.As(err, &failed) {
		return []any{failed.Status, failed.Class}
	}
	must(err)
	return []any{200, ""}
}

func put(agent *tokenseal.AgentClient, j job, value, revision string) (tokenseal.Written, error) {
	return agent.Put(ctx, tokenseal.Put{RowKey: j.key(), Tokens: map[string]*string{"access_token": &value}, IfRevision: revision})
}

// exercise is every call that the agent has, once, and once where it must fail.
func exercise(agent *tokenseal.AgentClient, j job) any {
	other := job{Channel: "other"}
	first, err := put(agent, j, "first", "")
	must(err)
	second, err := put(agent, j, j.Value, first.Revision)
	must(err)
	_, late := put(agent, j, "late", first.Revision)
	cell := tokenseal.Item{Table: "oauth_tokens", Column: "access_token", Row: j.key().Row, Value: &j.Value}
	sealed, err := agent.Seal(ctx, cell)
	must(err)
	cell.Value = new(string)
	none, err := agent.Seal(ctx, cell)
	must(err)
	cell.Value, cell.Version = nil, 2
	empty, err := agent.Open(ctx, cell)
	must(err)
	cell.Text = sealed.Text
	opened, err := agent.Open(ctx, cell)
	must(err)
	cell.Row = other.key().Row
	_, moved := agent.Open(ctx, cell)
	_, absent := agent.Get(ctx, other.key())
	secret, err := agent.Secret(ctx, "CRM_SMTP", "")
	must(err)
	_, withheld := agent.Secret(ctx, "KMS_MASTER_KEY", "")
	return map[string]any{
		"empty": []any{empty, none.Version, none.Method}, "written": second.Written, "late": status(late), "opened": opened, "moved": status(moved),
		"absent": status(absent), "secret": secret, "withheld": status(withheld),
	}
}

func read(agent *tokenseal.AgentClient, j job) any {
	row, err := agent.Get(ctx, j.key(), "access_token")
	must(err)
	return row.Tokens["access_token"]
}

// add adds 1 so many times, while others do so too; it returns how often another was faster.
func add(agent *tokenseal.AgentClient, j job) any {
	retries := 0
	for turn := 0; turn < j.Times; {
		row, err := agent.Get(ctx, j.key())
		must(err)
		count, err := strconv.Atoi(*row.Tokens["access_token"])
		must(err)
		_, err = put(agent, j, strconv.Itoa(count+1), row.Revision)
		switch code := status(err)[0]; code {
		case 200:
			turn++
		case 409:
			retries++
		default:
			log.Fatalf("put ended with %v", code)
		}
	}
	return retries
}

func measure(agent *tokenseal.AgentClient, j job) any {
	taken := make([]float64, 0, j.Times)
	for range j.Times {
		start := time.Now()
		_, err := agent.Get(ctx, j.key())
		must(err)
		taken = append(taken, float64(time.Since(start).Nanoseconds())/1000)
	}
	return taken
}

func remove(agent *tokenseal.AgentClient, j job) any {
	must(agent.Delete(ctx, j.key(), ""))
	_, err := agent.Get(ctx, j.key())
	return []any{true, status(err)}
}
