-- needs: community
-- Once a day the database's scheduler applies what table scad.retention says.

create procedure scad.retention_job(job_id integer, config jsonb) language plpgsql as $$
begin
    perform scad.apply_retention((select keep from scad.retention where data = 'reading'));
    perform scad.forget_quarantine();
end $$;
select add_job('scad.retention_job', interval '1 day');
