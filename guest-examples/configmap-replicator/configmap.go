package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strconv"

	"leasehold/client"
)

const (
	// The host takes this name for the API server, and adds its credentials: they are not known here.
	server = "http://kubernetes.default.svc/api/v1/namespaces/"
	// On a copy: the namespace and name of its original.
	copyOf = "leasehold.dev/copy-of"
	// On a copy: the fencing token of the leader that wrote it.
	writtenBy = "leasehold.dev/token"
	// So that neither an answer nor the memory it takes grows with the cluster.
	pageObjects = 100
)

type configMap struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metadata          `json:"metadata"`
	Data       map[string]string `json:"data,omitempty"`
	BinaryData map[string]string `json:"binaryData,omitempty"`
}

type metadata struct {
	Name            string            `json:"name"`
	Namespace       string            `json:"namespace"`
	UID             string            `json:"uid,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

func (there configMap) isCopyOf(original configMap) bool {
	return there.Metadata.Annotations[copyOf] == original.Metadata.Namespace+"/"+original.Metadata.Name
}

func (there configMap) isCopyFrom(namespace string) bool {
	return there.Metadata.Annotations[copyOf] == namespace+"/"+there.Metadata.Name
}

func (there configMap) sameContents(original configMap) bool {
	return maps.Equal(there.Data, original.Data) && maps.Equal(there.BinaryData, original.BinaryData)
}

// copyFor is the copy as it should be. With the version of the one that is there: a copy that somebody
// else has written since it was listed, the next leader say, is not overwritten.
func (original configMap) copyFor(namespace string, there metadata, token uint64) configMap {
	annotations := maps.Clone(there.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[copyOf] = original.Metadata.Namespace + "/" + original.Metadata.Name
	annotations[writtenBy] = strconv.FormatUint(token, 10)
	return configMap{
		APIVersion: "v1",
		Kind:       "ConfigMap",
		Metadata: metadata{
			Name:            original.Metadata.Name,
			Namespace:       namespace,
			ResourceVersion: there.ResourceVersion,
			Labels:          there.Labels,
			Annotations:     annotations,
		},
		Data:       original.Data,
		BinaryData: original.BinaryData,
	}
}

func list(namespace, selector string) ([]configMap, error) {
	var all []configMap
	query := url.Values{"limit": {strconv.Itoa(pageObjects)}}
	if selector != "" {
		query.Set("labelSelector", selector)
	}
	for {
		var page struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []configMap `json:"items"`
		}
		if err := ask("GET", namespace+"/configmaps?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Metadata.Continue == "" {
			return all, nil
		}
		query.Set("continue", page.Metadata.Continue)
	}
}

func write(wanted configMap, exists bool) error {
	path := wanted.Metadata.Namespace + "/configmaps"
	if exists {
		return ask("PUT", path+"/"+wanted.Metadata.Name, wanted, nil)
	}
	return ask("POST", path, wanted, nil)
}

// remove deletes exactly what was listed.
func remove(there configMap) error {
	options := map[string]any{
		"apiVersion":    "v1",
		"kind":          "DeleteOptions",
		"preconditions": map[string]string{"uid": there.Metadata.UID, "resourceVersion": there.Metadata.ResourceVersion},
	}
	return ask("DELETE", there.Metadata.Namespace+"/configmaps/"+there.Metadata.Name, options, nil)
}

// ask sends toSend, if any, and reads what comes back into answer, if it is to be known.
func ask(method, path string, toSend, answer any) error {
	request := client.Request{Method: method, URL: server + path, Header: map[string]string{"accept": "application/json"}}
	if toSend != nil {
		body, err := json.Marshal(toSend)
		if err != nil {
			return err
		}
		request.Body = body
		request.Header["content-type"] = "application/json"
	}
	got, err := client.Do(request)
	if err != nil {
		return err
	}
	if got.Status < 200 || got.Status > 299 {
		var status struct {
			Message string `json:"message"`
		}
		// What the API server says is a Status; what something in between says is not.
		if json.Unmarshal(got.Body, &status) != nil || status.Message == "" {
			status.Message = string(got.Body)
		}
		return fmt.Errorf("%s %s: %d: %s", method, path, got.Status, status.Message)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(got.Body, answer)
}
