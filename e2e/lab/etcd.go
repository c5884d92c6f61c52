package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// rangePage is how many values one request to etcd may return.
const rangePage = 200

// rangeRequest and rangeResponse are etcd's JSON form of Range; bytes travel
// as base64 and 64-bit numbers as strings.
type rangeRequest struct {
	Key      []byte `json:"key"`
	RangeEnd []byte `json:"range_end"`
	Limit    int64  `json:"limit,string"`
	Revision int64  `json:"revision,string,omitempty"`
}

type rangeResponse struct {
	Header struct {
		Revision int64 `json:"revision,string"`
	} `json:"header"`
	KVs []struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	} `json:"kvs"`
	More bool `json:"more"`
}

// RangeEtcd calls f for everything the cluster's store holds under prefix, in
// the order of the keys and as of one moment. An empty prefix stands for the
// whole store. Custom resources are stored as JSON; Kubernetes' own kinds as
// protobuf, in which strings and bytes stand readable as they are. An error
// from f ends the walk and is returned.
func (c *Cluster) RangeEtcd(ctx context.Context, prefix string, f func(key string, value []byte) error) error {
	request := rangeRequest{Key: []byte(prefix), RangeEnd: prefixEnd(prefix), Limit: rangePage}
	if prefix == "" {
		request.Key = []byte{0} // etcd's word for the first key
	}
	for {
		response, err := c.etcdRange(ctx, request)
		if err != nil {
			return fmt.Errorf("reading %q from the etcd of cluster %s: %w", prefix, c.Name, err)
		}
		for _, kv := range response.KVs {
			if err := f(string(kv.Key), kv.Value); err != nil {
				return err
			}
		}
		if !response.More || len(response.KVs) == 0 {
			return nil
		}
		last := response.KVs[len(response.KVs)-1].Key
		request.Key = append(bytes.Clone(last), 0)
		request.Revision = response.Header.Revision
	}
}

// etcdRange sends one request.
func (c *Cluster) etcdRange(ctx context.Context, request rangeRequest) (*rangeResponse, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, c.EtcdURL+"/v3/kv/range", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 2000))
		return nil, fmt.Errorf("etcd answered %s: %s", answer.Status, text)
	}
	var response rangeResponse
	if err := json.NewDecoder(answer.Body).Decode(&response); err != nil {
		return nil, fmt.Errorf("decoding etcd's answer: %w", err)
	}
	return &response, nil
}

// prefixEnd is the first key behind all keys with the prefix; a single zero
// byte stands for the end of the store.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}
