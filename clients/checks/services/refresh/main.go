// A service as vod-tender has it: refreshes the tokens of a channel on request, for rows of every form.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	_ "github.com/lib/pq"

	"tokenseal"
	"tokenseal/awskms"
)

// errOvertaken: the row holds another refresh token than the one that was spent.
var errOvertaken = errors.New("another writer stored other tokens")

type service struct {
	database *sql.DB
	sealer   *tokenseal.Sealer
	tokenURL string
	// channels has a lock for each channel: a refresh token is spent once.
	channels sync.Map
}

type pair struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	ExpiresIn int    `json:"expires_in"`
}

func main() {
	client := kms.New(kms.Options{
		Region:           "us-east-1",
		Credentials:      credentials.NewStaticCredentialsProvider("testing", "testing", ""),
		EndpointResolver: kms.EndpointResolverFromURL(os.Getenv("AWS_ENDPOINT_URL_KMS")),
	})
	// KMS_KEY_ID, TOKEN_PROFILE and ENCRYPTION_KEY are read from the environment.
	sealer, err := tokenseal.New(awskms.New(client), tokenseal.Config{})
	if err != nil {
		log.Fatal(err)
	}
	database, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	running := &service{database: database, sealer: sealer, tokenURL: os.Getenv("TOKEN_URL")}
	http.HandleFunc("/refresh/", running.handle)
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	log.Fatal(http.ListenAndServe(os.Getenv("LISTEN"), nil))
}

func (s *service) handle(answer http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodPost {
		http.Error(answer, "refreshing is a POST", http.StatusMethodNotAllowed)
		return
	}
	err := s.refresh(request.Context(), strings.TrimPrefix(request.URL.Path, "/refresh/"))
	switch {
	case err == nil:
		answer.WriteHeader(http.StatusNoContent)
	case errors.Is(err, errOvertaken):
		http.Error(answer, err.Error(), http.StatusConflict)
	default:
		http.Error(answer, err.Error(), http.StatusInternalServerError)
	}
}

// refresh spends the stored refresh token, and stores the tokens that the provider returns for it.
func (s *service) refresh(ctx context.Context, channel string) error {
	lock, _ := s.channels.LoadOrStore(channel, &sync.Mutex{})
	lock.(*sync.Mutex).Lock()
	defer lock.(*sync.Mutex).Unlock()

	row, spent, err := s.read(ctx, channel)
	if err != nil {
		return err
	}
	next, err := s.grant(ctx, spent)
	if err != nil {
		return err
	}
	// From here on the new pair is the only one that works: a caller that goes away does not stop it from being stored.
	return s.store(context.WithoutCancel(ctx), channel, row, spent, next)
}

// store writes until the pair is in the row. A row that a migration changed in between still holds the spent token.
func (s *service) store(ctx context.Context, channel string, row map[string]any, spent string, next pair) error {
	for {
		statement, err := s.sealer.Update(ctx, tokenseal.Update{
			Table: "oauth_tokens", Old: row,
			Set:   map[string]any{"access_token": next.Access, "refresh_token": next.Refresh},
			Plain: map[string]any{"expires_at": time.Now().Add(time.Duration(next.ExpiresIn) * time.Second)},
		})
		if err != nil {
			return err
		}
		result, err := s.database.ExecContext(ctx, statement.SQL, statement.Params...)
		if err != nil {
			return err
		}
		if changed, err := result.RowsAffected(); err != nil || changed == 1 {
			return err
		}
		var held string
		if row, held, err = s.read(ctx, channel); err != nil {
			return err
		}
		if held != spent {
			return errOvertaken
		}
	}
}

// read returns the row of a channel, and its refresh token.
func (s *service) read(ctx context.Context, channel string) (map[string]any, string, error) {
	columns := []string{
		"provider", "channel", "access_token", "refresh_token",
		"encryption_version", "encryption_method", "encryption_key_id",
	}
	values, targets := make([]any, len(columns)), make([]any, len(columns))
	for at := range values {
		targets[at] = &values[at]
	}
	query := "SELECT provider, channel, access_token, refresh_token, encryption_version, encryption_method," +
		" encryption_key_id FROM oauth_tokens WHERE provider = 'twitch' AND channel = $1"
	if err := s.database.QueryRowContext(ctx, query, channel).Scan(targets...); err != nil {
		return nil, "", err
	}
	row := map[string]any{}
	for at, column := range columns {
		row[column] = values[at]
	}
	cell := tokenseal.Cell{
		Table: "oauth_tokens", Column: "refresh_token", Version: tokenseal.Null,
		Row: map[string]any{"provider": row["provider"], "channel": row["channel"]},
	}
	if row["encryption_version"] != nil {
		cell.Version = row["encryption_version"]
	}
	token, err := s.sealer.Open(ctx, fmt.Sprintf("%s", row["refresh_token"]), cell)
	return row, token, err
}

// grant asks the provider for new tokens.
func (s *service) grant(ctx context.Context, refresh string) (pair, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	answer, err := http.PostForm(s.tokenURL, form)
	if err != nil {
		return pair{}, errors.New("the provider did not answer")
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return pair{}, fmt.Errorf("the provider refused the refresh token with status %d", answer.StatusCode)
	}
	var next pair
	err = json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&next)
	return next, err
}
