// Package ask asks agents from outside: it sends requests, reads the answers from the topic of replies and finds out why there is none.
//
// An asker reads one partition of a topology's topic of replies, from where its log ends before the first request is sent, committed
// records only: so no answer is missed, and none is seen that a crash takes back. It tells its own answers by their ids; an answer that
// comes twice (at least once) or too late is passed over. Requests that come at once are sent at once.
package ask
