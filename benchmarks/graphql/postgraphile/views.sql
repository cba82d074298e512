-- What PostGraphile is shown: the viewer's predicate with the teams as constants, and keys and orders that a view has not.
DROP SCHEMA IF EXISTS peer CASCADE;
CREATE SCHEMA peer;
CREATE VIEW peer.teams AS SELECT id, name FROM public.teams;
CREATE VIEW peer.models AS SELECT id, name, task, description, created_at, team_id FROM public.models
WHERE visibility = 'ORGANISATION' OR team_id = ANY ('{teams}'::uuid[]);
CREATE VIEW peer.model_versions AS SELECT id, model_id, number, status, created_at FROM public.model_versions;
COMMENT ON VIEW peer.teams IS '@primaryKey id';
COMMENT ON VIEW peer.models IS E'@primaryKey id\n@foreignKey (team_id) references peer.teams (id)';
COMMENT ON VIEW peer.model_versions IS E'@primaryKey id\n@foreignKey (model_id) references peer.models (id)';
COMMENT ON COLUMN peer.models.created_at IS '@behavior +orderBy';
COMMENT ON COLUMN peer.models.id IS '@behavior +orderBy';
COMMENT ON COLUMN peer.model_versions.number IS '@behavior +orderBy';
GRANT USAGE ON SCHEMA peer TO guildhall_service;
GRANT SELECT ON ALL TABLES IN SCHEMA peer TO guildhall_service;
